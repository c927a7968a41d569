"""Proves that a backend narrows a session: check.py FOLDER (of seed.py), for each backend that has been seeded there.

A session scoped to reading `reports` reads there, and may neither write there nor read or list elsewhere.
"""

import json
import os
import sys

import boto3
from botocore.exceptions import ClientError

SCOPE = {
    "Version": "2012-10-17",
    "Statement": [{"Effect": "Allow", "Action": ["s3:GetObject"], "Resource": ["arn:aws:s3:::reports/*"]}],
}


def status(call, **arguments):
    try:
        return call(**arguments)["ResponseMetadata"]["HTTPStatusCode"]
    except ClientError as error:
        return error.response["ResponseMetadata"]["HTTPStatusCode"]


def check(env):
    sts = boto3.client(
        "sts",
        endpoint_url=env["AWS_ENDPOINT_URL"],
        region_name=env["AWS_REGION"],
        aws_access_key_id=env["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=env["AWS_SECRET_ACCESS_KEY"],
    )
    session = sts.assume_role(
        RoleArn="arn:aws:iam::000000000000:role/agents/agents/report-writer",
        RoleSessionName="check",
        DurationSeconds=900,
        Policy=json.dumps(SCOPE),
        Tags=[{"Key": "exeat:session", "Value": "check"}],
    )["Credentials"]
    s3 = boto3.client(
        "s3",
        endpoint_url=env["AWS_ENDPOINT_URL"],
        region_name=env["AWS_REGION"],
        aws_access_key_id=session["AccessKeyId"],
        aws_secret_access_key=session["SecretAccessKey"],
        aws_session_token=session["SessionToken"],
    )
    return {
        "get reports/q3.txt": (status(s3.get_object, Bucket="reports", Key="q3.txt"), 200),
        "get payroll/salaries.txt": (status(s3.get_object, Bucket="payroll", Key="salaries.txt"), 403),
        "put reports/new.txt": (status(s3.put_object, Bucket="reports", Key="new.txt", Body=b""), 403),
        "list reports": (status(s3.list_objects_v2, Bucket="reports"), 403),
        "delete reports/q3.txt": (status(s3.delete_object, Bucket="reports", Key="q3.txt"), 403),
    }


def main(folder):
    wrong = seen = 0
    for backend in ("ministack", "minio"):
        path = os.path.join(folder, f"{backend}.env")
        if not os.path.exists(path):
            continue
        with open(path) as source:
            env = dict(line.strip().split("=", 1) for line in source)
        for call, (got, wanted) in check(env).items():
            seen += 1
            wrong += got != wanted
            print(f"{backend}: {call}: {got}" + ("" if got == wanted else f", expected {wanted}"))
    return 1 if wrong or not seen else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
