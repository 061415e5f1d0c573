"""An Ubuntu image of moto's own catalogue."""
import sys

import boto3

ec2 = boto3.client("ec2", endpoint_url=sys.argv[1])
images = ec2.describe_images()["Images"]
ubuntu = [i for i in images if "ubuntu" in i["Name"].lower() and i["Architecture"] == "x86_64"]
print(ubuntu[0]["ImageId"])
