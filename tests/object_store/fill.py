"""Puts files into a bucket of a fresh server, makes its users, and lets signatures count from then on.

Runs in the object store's own environment: fill.py URL BUCKET DIRECTORY. Prints the users' keys.
"""

import json
import os
import sys
import urllib.request
from pathlib import Path
from ssl import create_default_context

import boto3

url, bucket, directory = sys.argv[1], sys.argv[2], Path(sys.argv[3])
access = {"endpoint_url": url, "region_name": "us-east-1"}
anybody = {"aws_access_key_id": "anybody", "aws_secret_access_key": "anybody"}
s3 = boto3.client("s3", **access, **anybody)
s3.create_bucket(Bucket=bucket)
for path in directory.rglob("*"):
    if path.is_file():
        s3.put_object(Bucket=bucket, Key=str(path.relative_to(directory)), Body=path.read_bytes())

iam = boto3.client("iam", **access, **anybody)
MAY_READ = {
    "Version": "2012-10-17",
    "Statement": [
        {
            "Effect": "Allow",
            "Action": ["s3:GetObject", "s3:ListBucket", "s3:GetBucketLocation"],
            "Resource": "*",
        }
    ],
}
keys = {}
for user in ("reader", "stranger"):
    iam.create_user(UserName=user)
    if user == "reader":
        iam.put_user_policy(UserName=user, PolicyName="read", PolicyDocument=json.dumps(MAY_READ))
    key = iam.create_access_key(UserName=user)["AccessKey"]
    keys[user] = [key["AccessKeyId"], key["SecretAccessKey"]]

# so many further requests are let in unseen
reset = urllib.request.Request(f"{url}/moto-api/reset-auth", b"0", {"Content-Type": "text/plain"})
urllib.request.urlopen(reset, context=create_default_context(cafile=os.environ["AWS_CA_BUNDLE"])).read()
print(json.dumps(keys))
