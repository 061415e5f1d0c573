"""What the tests need of a store before the client may come: users, buckets, signatures.

moto URL                        a user who may do everything in S3, one who may do nothing, a bucket
azure URL                       a container and three signatures for it
sign URL BUCKET PREFIX ID KEY   signs calls, one JSON document a line, with an address each
uploads URL BUCKET              how many uploads are half done
"""
import base64
import datetime
import hashlib
import hmac
import json
import sys
import urllib.parse
import urllib.request


def moto(url):
    import boto3

    iam = boto3.client("iam", endpoint_url=url)
    keys = []
    for name, effect in [("all", "Allow"), ("none", "Deny")]:
        iam.create_user(UserName=name)
        key = iam.create_access_key(UserName=name)["AccessKey"]
        rule = {"Effect": effect, "Action": ["s3:*"], "Resource": "*"}
        policy = json.dumps({"Version": "2012-10-17", "Statement": [rule]})
        iam.put_user_policy(UserName=name, PolicyName=name, PolicyDocument=policy)
        keys.append(key)
    s3 = boto3.client(
        "s3",
        endpoint_url=url,
        aws_access_key_id=keys[0]["AccessKeyId"],
        aws_secret_access_key=keys[0]["SecretAccessKey"],
    )
    s3.create_bucket(Bucket="bucket")
    for key in keys:
        print(key["AccessKeyId"], key["SecretAccessKey"])


def uploads(url, bucket):
    import boto3

    s3 = boto3.client("s3", endpoint_url=url)
    print(len(s3.list_multipart_uploads(Bucket=bucket).get("Uploads", [])))


ACCOUNT = "devstoreaccount1"
# Azurite's own, printed in its documentation.
ACCOUNT_KEY = base64.b64decode(
    "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
)
VERSION = "2021-12-02"


def signature(text):
    return base64.b64encode(hmac.new(ACCOUNT_KEY, text.encode(), hashlib.sha256).digest()).decode()


def sas(container, rights, minutes):
    """https://learn.microsoft.com/rest/api/storageservices/create-service-sas"""
    end = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(minutes=minutes)
    end = end.strftime("%Y-%m-%dT%H:%M:%SZ")
    resource = f"/blob/{ACCOUNT}/{container}"
    fields = [rights, "", end, resource, "", "", "", VERSION, "c", "", "", "", "", "", "", ""]
    pairs = {"sv": VERSION, "sr": "c", "sp": rights, "se": end, "sig": signature("\n".join(fields))}
    return urllib.parse.urlencode(pairs)


def azure(url):
    now = datetime.datetime.now(datetime.timezone.utc).strftime("%a, %d %b %Y %H:%M:%S GMT")
    headers = {"x-ms-date": now, "x-ms-version": VERSION, "Content-Length": "0"}
    lines = f"x-ms-date:{now}\nx-ms-version:{VERSION}\n"
    resource = f"/{ACCOUNT}/{ACCOUNT}/bucket\nrestype:container"
    text = "PUT" + "\n" * 12 + lines + resource
    headers["Authorization"] = f"SharedKey {ACCOUNT}:{signature(text)}"
    where = f"{url}/{ACCOUNT}/bucket?restype=container"
    urllib.request.urlopen(urllib.request.Request(where, method="PUT", headers=headers)).read()
    print(sas("bucket", "racwdl", 60))
    print(sas("bucket", "r", 60))
    print(sas("bucket", "racwdl", -5))
    print(sas("nowhere", "racwdl", 60))


def sign(url, bucket, prefix, access_key, secret):
    from botocore.auth import S3SigV4QueryAuth
    from botocore.awsrequest import AWSRequest
    from botocore.credentials import Credentials

    signer = S3SigV4QueryAuth(Credentials(access_key, secret), "s3", "us-east-1", expires=3600)
    for line in sys.stdin:
        call = json.loads(line)
        where = f"{url}/{bucket}"
        if call["key"]:
            where += "/" + urllib.parse.quote(f"{prefix}/{call['key']}", safe="/~")
        if call["query"]:
            where += "?" + urllib.parse.urlencode([tuple(p) for p in call["query"]], quote_via=urllib.parse.quote)
        request = AWSRequest(method=call["method"], url=where)
        signer.add_auth(request)
        print(request.url, flush=True)


{"moto": moto, "azure": azure, "sign": sign, "uploads": uploads}[sys.argv[1]](*sys.argv[2:])
