"""Fills a fresh backend with the account that tests and demo use: seed.py ministack|minio FOLDER

Both get the buckets `reports` and `payroll` with one object each, and a user `exeat-issuer` whose keys stand in FOLDER/<backend>.env
(for `kubectl create secret generic --from-env-file`); the administrator's stand in FOLDER/<backend>-admin.env.
"""

import json
import os
import secrets
import sys
import time

import boto3

MINISTACK = "http://198.18.0.1:4577"
MINIO = "http://198.18.0.1:9010"
REGION = "us-east-1"
ACCOUNT = "000000000000"
ISSUER = "exeat-issuer"
ROLES = ["report-writer", "payroll-reader"]
OBJECTS = {"reports": "q3.txt", "payroll": "salaries.txt"}


def write_env(folder, name, endpoint, key, secret):
    path = os.path.join(folder, f"{name}.env")
    lines = {
        "AWS_ACCESS_KEY_ID": key,
        "AWS_SECRET_ACCESS_KEY": secret,
        "AWS_REGION": REGION,
        "AWS_ENDPOINT_URL": endpoint,
    }
    with open(os.open(path + ".new", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as out:
        out.writelines(f"{k}={v}\n" for k, v in lines.items())
    os.rename(path + ".new", path)


def client(service, endpoint, key, secret):
    return boto3.client(
        service, endpoint_url=endpoint, region_name=REGION, aws_access_key_id=key, aws_secret_access_key=secret
    )


def policy(*statements):
    return json.dumps({"Version": "2012-10-17", "Statement": list(statements)})


def fill(s3):
    for attempt in range(20):
        try:
            s3.list_buckets()
            break
        except Exception:
            if attempt == 19:
                raise
            time.sleep(0.5)
    for bucket, key in OBJECTS.items():
        s3.create_bucket(Bucket=bucket)
        s3.put_object(Bucket=bucket, Key=key, Body=f"contents of {bucket}/{key}\n".encode())


def ministack(folder):
    root = ("test", "test")
    fill(client("s3", MINISTACK, *root))
    iam = client("iam", MINISTACK, *root)
    user = iam.create_user(UserName=ISSUER)["User"]["Arn"]
    sts_calls = ["sts:AssumeRole", "sts:TagSession", "sts:SetSourceIdentity"]
    iam.put_user_policy(
        UserName=ISSUER,
        PolicyName="assume-agents",
        PolicyDocument=policy(
            {"Effect": "Allow", "Action": sts_calls, "Resource": f"arn:aws:iam::{ACCOUNT}:role/agents/*"}
        ),
    )
    trust = policy({"Effect": "Allow", "Principal": {"AWS": user}, "Action": sts_calls})
    for role in ROLES:
        iam.create_role(RoleName=role, Path="/agents/agents/", AssumeRolePolicyDocument=trust)
        iam.put_role_policy(
            RoleName=role,
            PolicyName="storage",
            PolicyDocument=policy({"Effect": "Allow", "Action": "s3:*", "Resource": "*"}),
        )
    # A role that nobody may assume: the trust of the real account says no.
    iam.create_role(
        RoleName="untrusting",
        Path="/agents/agents/",
        AssumeRolePolicyDocument=policy(
            {"Effect": "Allow", "Principal": {"AWS": f"arn:aws:iam::{ACCOUNT}:user/somebody-else"}, "Action": sts_calls}
        ),
    )
    key = iam.create_access_key(UserName=ISSUER)["AccessKey"]
    write_env(folder, "ministack-admin", MINISTACK, *root)
    write_env(folder, "ministack", MINISTACK, key["AccessKeyId"], key["SecretAccessKey"])


def minio(folder):
    from minio.credentials import StaticProvider
    from minio.minioadmin import MinioAdmin

    with open(os.path.join(folder, "minio-root")) as source:
        root = ("exeat-root", source.read().strip())
    fill(client("s3", MINIO, *root))
    admin = MinioAdmin(endpoint=MINIO.removeprefix("http://"), credentials=StaticProvider(*root), secure=False)
    secret = secrets.token_hex(20)
    admin.policy_add("agents", policy={
        "Version": "2012-10-17",
        "Statement": [{"Effect": "Allow", "Action": ["s3:*"], "Resource": ["arn:aws:s3:::*"]}],
    })
    admin.user_add(ISSUER, secret)
    admin.attach_policy(["agents"], user=ISSUER)
    write_env(folder, "minio-admin", MINIO, *root)
    write_env(folder, "minio", MINIO, ISSUER, secret)


if __name__ == "__main__":
    {"ministack": ministack, "minio": minio}[sys.argv[1]](sys.argv[2])
