"""Makes two users in moto: one who may do everything in S3, one who may do nothing. Says their keys."""
import json
import sys

import boto3

iam = boto3.client("iam", endpoint_url=sys.argv[1])
for name, effect in [("all", "Allow"), ("none", "Deny")]:
    iam.create_user(UserName=name)
    key = iam.create_access_key(UserName=name)["AccessKey"]
    rule = {"Effect": effect, "Action": ["s3:*"], "Resource": "*"}
    policy = json.dumps({"Version": "2012-10-17", "Statement": [rule]})
    iam.put_user_policy(UserName=name, PolicyName=name, PolicyDocument=policy)
    print(key["AccessKeyId"], key["SecretAccessKey"])
