"""The three calls that moto takes unsigned: a user, its key, its permissions."""
import json
import sys

import boto3

iam = boto3.client("iam", endpoint_url=sys.argv[1])
iam.create_user(UserName="fleet")
key = iam.create_access_key(UserName="fleet")["AccessKey"]
every = {"Effect": "Allow", "Action": ["ec2:*", "ssm:*", "sts:*", "pricing:*"], "Resource": "*"}
policy = json.dumps({"Version": "2012-10-17", "Statement": [every]})
iam.put_user_policy(UserName="fleet", PolicyName="fleet", PolicyDocument=policy)
print(key["AccessKeyId"], key["SecretAccessKey"])
