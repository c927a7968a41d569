"""Compares our verdicts with those of servers that evaluate the session policies themselves.

Each case is a grant with its document and some calls, each with our verdict. A session is minted with exactly that document, on MiniStack
(dialect AWS) or on MinIO (dialect S3Compatible), and does the calls. On MiniStack two buckets have a policy that allows the session
everything, so that whatever the document merely does not allow, instead of denying it, shows.

Prints one line a server and fails on any difference that is not in KNOWN. Usage: see run.sh.
"""

import argparse
import json
import multiprocessing
import os
import subprocess
import sys
import time

import boto3
import botocore.config
import botocore.session
from botocore.exceptions import ClientError

REGION = "us-east-1"
ACCOUNT = "000000000000"
SESSION = "exeat"
BUCKETS = ["data", "data-raw", "logs"]
OPEN_BUCKETS = ["data", "logs"]
KEYS = ["k1", "k22", "x/y", "x/k1"]
TABLES = ["orders", "carts"]
ITEM = {"id": {"S": "1"}}
TAGS = {"TagSet": [{"Key": "a", "Value": "b"}]}
DENIED = {"AccessDenied", "AccessDeniedException"}
# What a call answers that was let through but finds nothing.
ABSENT = {"NoSuchTagSet", "NoSuchKey"}

# (server, action): the reason why its verdict differs from ours.
KNOWN = {
    ("MinIO", "s3:GetObjectVersion"): "it judges a read of a version as s3:GetObject",
}


def client(session, service, endpoint):
    config = botocore.config.Config(
        retries={"total_max_attempts": 1}, s3={"addressing_style": "path"}, connect_timeout=5, read_timeout=30
    )
    return session.create_client(service, region_name=REGION, endpoint_url=endpoint, config=config)


def session_of(key, secret, token=None):
    session = botocore.session.Session()
    session.set_credentials(key, secret, token)
    return session


class Server:
    """A running server with buckets, and an account that may mint sessions."""

    def __init__(self, endpoint, root, admin):
        self.endpoint = endpoint
        self.root = client(session_of(*root), "s3", endpoint)
        self.versions = {}
        self.minter = client(session_of(*admin), "sts", endpoint)
        self.agent = session_of("none", "none", "none")
        self.s3 = client(self.agent, "s3", endpoint)
        self.dynamodb = client(self.agent, "dynamodb", endpoint)

    def fill(self):
        for bucket in BUCKETS:
            self.root.create_bucket(Bucket=bucket)
            self.root.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
            for key in KEYS:
                put = self.root.put_object(Bucket=bucket, Key=key, Body=b"x", Tagging="a=b")
                self.versions[bucket, key] = put["VersionId"]

    def mint(self, document):
        answer = self.minter.assume_role(
            RoleArn=f"arn:aws:iam::{ACCOUNT}:role/differential", RoleSessionName=SESSION, Policy=document, DurationSeconds=900
        )["Credentials"]
        # The clients read the session's credentials at each call.
        credentials = self.agent.get_credentials()
        credentials.access_key = answer["AccessKeyId"]
        credentials.secret_key = answer["SecretAccessKey"]
        credentials.token = answer["SessionToken"]

    def perform(self, action, resource):
        """Whether the server let the call through."""
        service, name = action.split(":")
        try:
            if service == "dynamodb":
                self.on_table(name, resource.rpartition("/")[2])
            else:
                self.on_bucket(name, *resource.removeprefix("arn:aws:s3:::").partition("/")[::2])
            return True
        except ClientError as error:
            code = error.response["Error"]["Code"]
            if code in DENIED:
                return False
            if code in ABSENT:
                return True
            raise

    def on_table(self, name, table):
        if name == "GetItem":
            self.dynamodb.get_item(TableName=table, Key=ITEM)
        elif name == "PutItem":
            self.dynamodb.put_item(TableName=table, Item=ITEM)
        elif name == "DeleteItem":
            self.dynamodb.delete_item(TableName=table, Key=ITEM)
        else:
            raise NotImplementedError(name)

    def on_bucket(self, name, bucket, key):
        s3, at = self.s3, {"Bucket": bucket, "Key": key}
        if name == "GetObject":
            s3.get_object(**at)["Body"].read()
        elif name == "GetObjectVersion":
            s3.get_object(**at, VersionId=self.versions[bucket, key])["Body"].read()
        elif name == "PutObject":
            s3.put_object(**at, Body=b"x")
        elif name == "DeleteObject":
            s3.delete_object(**at)
            self.root.put_object(**at, Body=b"x", Tagging="a=b")
        elif name == "GetObjectTagging":
            s3.get_object_tagging(**at)
        elif name == "PutObjectTagging":
            s3.put_object_tagging(**at, Tagging=TAGS)
        elif name == "ListBucket":
            s3.list_objects_v2(Bucket=bucket)
        elif name == "GetBucketLocation":
            s3.get_bucket_location(Bucket=bucket)
        elif name == "GetBucketTagging":
            s3.get_bucket_tagging(Bucket=bucket)
        elif name == "GetBucketVersioning":
            s3.get_bucket_versioning(Bucket=bucket)
        else:
            raise NotImplementedError(name)


def wait_for(what, ask):
    end = time.monotonic() + 60
    while True:
        try:
            return ask()
        except Exception as error:
            if time.monotonic() > end:
                raise TimeoutError(f"{what} does not answer: {error}") from error
            time.sleep(0.2)


def start(folder, name, command, environment):
    with open(os.path.join(folder, f"{name}.log"), "w") as log:
        subprocess.Popen(command, env={**os.environ, **environment}, stdout=log, stderr=log, cwd=folder)


def policy(*statements):
    return json.dumps({"Version": "2012-10-17", "Statement": list(statements)})


def ministack(arguments):
    endpoint, root = "http://127.0.0.1:4577", ("test", "test")
    start(arguments.folder, "ministack", [arguments.ministack], {
        "AUTH": "true", "BIND_HOST": "127.0.0.1", "GATEWAY_PORT": "4577", "SERVICES": "iam,sts,s3,dynamodb",
        "IOT_MTLS_ENABLED": "0", "SFTP_ENABLED": "0",
    })
    admin = session_of(*root)
    iam = client(admin, "iam", endpoint)
    wait_for("MiniStack", iam.list_users)
    user = iam.create_user(UserName="issuer")["User"]["Arn"]
    iam.put_user_policy(UserName="issuer", PolicyName="assume", PolicyDocument=policy(
        {"Effect": "Allow", "Action": "sts:AssumeRole", "Resource": "*"}))
    iam.create_role(RoleName="differential", AssumeRolePolicyDocument=policy(
        {"Effect": "Allow", "Principal": {"AWS": user}, "Action": "sts:AssumeRole"}))
    iam.put_role_policy(RoleName="differential", PolicyName="all", PolicyDocument=policy(
        {"Effect": "Allow", "Action": "*", "Resource": "*"}))
    key = iam.create_access_key(UserName="issuer")["AccessKey"]
    dynamodb = client(admin, "dynamodb", endpoint)
    for table in TABLES:
        dynamodb.create_table(
            TableName=table, BillingMode="PAY_PER_REQUEST", KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
            AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}])
    server = Server(endpoint, root, (key["AccessKeyId"], key["SecretAccessKey"]))
    server.fill()
    for bucket in OPEN_BUCKETS:
        server.root.put_bucket_policy(Bucket=bucket, Policy=policy({
            "Effect": "Allow", "Principal": {"AWS": f"arn:aws:sts::{ACCOUNT}:assumed-role/differential/{SESSION}"},
            "Action": "s3:*", "Resource": [f"arn:aws:s3:::{bucket}", f"arn:aws:s3:::{bucket}/*"]}))
    check_that_a_hole_shows(server)
    return server


def check_that_a_hole_shows(server):
    """A document without denials must let the session escape through the bucket's policy, or the test would see no hole."""
    server.mint(policy({"Effect": "Allow", "Action": "s3:ListBucket", "Resource": "arn:aws:s3:::data-raw"}))
    if not server.perform("s3:GetObject", "arn:aws:s3:::data/k1"):
        raise AssertionError("a bucket's policy that names the session has no effect: holes in documents would not show")
    if server.perform("s3:GetObject", "arn:aws:s3:::data-raw/k1"):
        raise AssertionError("the session policy has no effect")


def minio(arguments):
    from minio.credentials import StaticProvider
    from minio.minioadmin import MinioAdmin

    root, issuer = ("exeat-root", "root-secret"), ("issuer", "issuer-secret")
    data = os.path.join(arguments.folder, "minio-data")
    start(arguments.folder, "minio", [arguments.minio, "server", "--quiet", "--address", "127.0.0.1:9010", data], {
        "MINIO_ROOT_USER": root[0], "MINIO_ROOT_PASSWORD": root[1], "MINIO_BROWSER": "off", "MINIO_UPDATE": "off",
    })
    server = Server("http://127.0.0.1:9010", root, issuer)
    wait_for("MinIO", server.root.list_buckets)
    admin = MinioAdmin(endpoint="127.0.0.1:9010", credentials=StaticProvider(*root), secure=False)
    admin.policy_add("all", policy=json.loads(policy({"Effect": "Allow", "Action": ["s3:*"], "Resource": ["arn:aws:s3:::*"]})))
    admin.user_add(*issuer)
    admin.attach_policy(["all"], user=issuer[0])
    server.fill()
    return server


SERVERS = {"MiniStack": ("AWS", ministack), "MinIO": ("S3Compatible", minio)}


def compare(name, arguments):
    """Does all cases of one server; how many calls agreed, and the rest."""
    dialect, begin = SERVERS[name]
    server = begin(arguments)
    count = {"cases": 0, "calls": 0, "agree": 0, "known": 0, "allowed": 0}
    differences = []
    with open(os.path.join(arguments.folder, f"{dialect}.jsonl")) as cases:
        for line in cases:
            case = json.loads(line)
            server.mint(case["document"])
            count["cases"] += 1
            for call in case["calls"]:
                theirs = server.perform(call["action"], call["resource"])
                count["calls"] += 1
                count["allowed"] += theirs
                if theirs == call["allowed"]:
                    count["agree"] += 1
                elif (name, call["action"]) in KNOWN:
                    count["known"] += 1
                else:
                    differences.append({"server": name, "call": call, "theirs": theirs, **case, "calls": len(case["calls"])})
    return count, differences


def work(name, arguments, answers):
    try:
        answers.put((name, *compare(name, arguments)))
    except BaseException as error:
        answers.put((name, None, f"{type(error).__name__}: {error}"))
        raise


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    for option in ("folder", "ministack", "minio", "seed"):
        parser.add_argument(f"--{option}", required=True)
    arguments = parser.parse_args()
    began, failed = time.monotonic(), False
    answers = multiprocessing.Queue()
    for name in SERVERS:
        multiprocessing.Process(target=work, args=(name, arguments, answers)).start()
    for _ in SERVERS:
        name, count, differences = answers.get()
        if count is None:
            print(f"{name}: {differences}", file=sys.stderr)
            failed = True
            continue
        ours = sum(not d["theirs"] for d in differences)
        print(
            f"{name}: cases={count['cases']} calls={count['calls']} agree={count['agree']} (allowed by both: {count['allowed']})"
            f" ours_allows_backend_denies={ours} backend_allows_ours_denies={len(differences) - ours}"
            f" known_differences={count['known']} seed={arguments.seed} seconds={time.monotonic() - began:.0f}"
        )
        for difference in differences[:5]:
            print(json.dumps(difference, indent=1), file=sys.stderr)
        failed |= bool(differences) or count["cases"] == 0 or count["allowed"] == 0
    sys.exit(failed)


if __name__ == "__main__":
    main()
