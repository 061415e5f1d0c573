"""What SkyPilot makes of task files: reads names of files on stdin, writes one JSON object a line.

Runs inside the environment that oracle.rs builds. With --schema FILE it also checks every document
against the JSON Schema in FILE.
"""
import json
import os
import sys

import jsonschema
import yaml

import sky
from sky.data import storage

HEADER = {'name', 'execution'}


class TextLoader(yaml.SafeLoader):
    """Keeps dates as text, as an editor's YAML 1.2 does."""


TextLoader.yaml_implicit_resolvers = {
    first: [(tag, rule) for tag, rule in rules if not tag.endswith('timestamp')]
    for first, rules in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def resources(one):
    place = '/'.join(str(part) if part else '*' for part in (one.cloud, one.region, one.zone))
    return {
        'accelerators': {str(k): v for k, v in (one.accelerators or {}).items()},
        'cpus': one.cpus,
        'memory': one.memory,
        'use_spot': one.use_spot if one.use_spot_specified else None,
        'instance_type': one.instance_type,
        'place': place.lower(),
    }


def bucket(url):
    store, name, path, account, _ = storage.StoreType.get_fields_from_store_url(url)
    return {'store': store.value, 'account': account, 'bucket': name, 'path': path.strip('/')}


def mounted(one):
    """A storage object, checked as SkyPilot does before it makes a bucket."""
    one._validate_storage_spec(one.name)  # pylint: disable=protected-access
    seen = {'mode': one.mode.value, 'persistent': None, 'upload': None}
    if isinstance(one.source, str) and '://' in one.source:
        return {**bucket(one.source), **seen}
    stores = [store.value for store in one.stores] or [None]
    path = one._bucket_sub_path or ''  # pylint: disable=protected-access
    where = {'store': stores[0], 'account': None, 'bucket': one.name, 'path': path}
    return {**where, **seen, 'persistent': one.persistent, 'upload': one.source}


def buckets(read):
    copied = {'mode': 'COPY', 'persistent': None, 'upload': None}
    mounts = (read.file_mounts or {}).items()
    plain = {to: {**bucket(url), **copied} for to, url in mounts if '://' in url}
    return {**plain, **{to: mounted(one) for to, one in read.storage_mounts.items()}}


def task(config):
    read = sky.Task.from_yaml_config(config)
    return {
        'name': read.name,
        'num_nodes': read.num_nodes,
        'envs': read.envs,
        'secrets': sorted(read.secrets or {}),
        'file_mounts': sorted(to for to, url in (read.file_mounts or {}).items() if '://' not in url),
        'buckets': buckets(read),
        'setup': read.setup,
        'run': read.run,
        'ordered': isinstance(read.resources, list),
        'resources': [resources(one) for one in read.resources],
    }


def main():
    schema = None
    if '--schema' in sys.argv:
        with open(sys.argv[sys.argv.index('--schema') + 1], encoding='utf-8') as file:
            schema = jsonschema.Draft202012Validator(json.load(file))
        jsonschema.Draft202012Validator.check_schema(schema.schema)
    for path in sys.stdin.read().splitlines():
        answer = {'file': os.path.basename(path), 'schema': []}
        with open(path, encoding='utf-8') as file:
            text = file.read()
        if schema is not None:
            for document in yaml.load_all(text, Loader=TextLoader):
                answer['schema'] += [error.message[:200] for error in schema.iter_errors(document)]
        try:
            documents = [d for d in yaml.safe_load_all(text) if d is not None]
            if len(documents) > 1 and set(documents[0]) <= HEADER:
                documents = documents[1:]
            answer['tasks'] = [task(document) for document in documents]
        except Exception as error:  # pylint: disable=broad-except
            answer['refused'] = f'{type(error).__name__}: {error}'[:300]
        print('ORACLE ' + json.dumps(answer), flush=True)


main()
