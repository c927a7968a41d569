import os

import boto3
from botocore.exceptions import ClientError

session = boto3.Session()
# An old boto3 does not read the variable itself.
s3 = session.client("s3", endpoint_url=os.environ["AWS_ENDPOINT_URL"])


def get(bucket, key):
    s3.get_object(Bucket=bucket, Key=key)["Body"].read()


def fetch():
    return boto3.Session().get_credentials().get_frozen_credentials().access_key


def use():
    key = session.get_credentials().get_frozen_credentials().access_key
    get("reports", "q3.txt")
    return key


def denial(error):
    return isinstance(error, ClientError) and error.response["Error"]["Code"] == "AccessDenied"


loop(("fetch", fetch, None), ("use", use, None), ("denied", lambda: get("payroll", "salaries.txt"), denial))
