"""Signs URLs with Google's own library.

key FILE                         makes a service account's key file
sign FILE BUCKET STAMP CALLS     signs each call [method, key, [[name, value], ...]]; an URL a line
"""
import json
import sys

if sys.argv[1] == "key":
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import rsa

    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    document = {
        "type": "service_account",
        "project_id": "project",
        "private_key_id": "1",
        "private_key": pem.decode(),
        "client_email": "robot@project.iam.gserviceaccount.com",
        "token_uri": "https://oauth2.googleapis.com/token",
    }
    json.dump(document, open(sys.argv[2], "w"))
else:
    import datetime
    import urllib.parse

    from google.cloud.storage import _signing
    from google.oauth2 import service_account

    _, _, file, bucket, stamp, calls = sys.argv
    credentials = service_account.Credentials.from_service_account_file(file)
    for method, name, query in json.loads(calls):
        resource = "/" + bucket
        if name:
            resource += "/" + urllib.parse.quote(name, safe="/~")
        print(
            _signing.generate_signed_url_v4(
                credentials,
                resource=resource,
                expiration=datetime.timedelta(hours=1),
                method=method,
                query_parameters=dict(map(tuple, query)),
                _request_timestamp=stamp,
            )
        )
