CREATE TABLE jobs (
    id         TEXT PRIMARY KEY,
    client_key TEXT NOT NULL,
    -- Place among the jobs of one accept.
    place      INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    realm      TEXT NOT NULL,
    spec       TEXT NOT NULL,
    state      TEXT NOT NULL,
    version    INTEGER NOT NULL,
    finished   INTEGER NOT NULL
) STRICT;
CREATE UNIQUE INDEX jobs_by_client_key ON jobs (client_key, place);
CREATE INDEX jobs_live ON jobs (created_at) WHERE finished = 0;

CREATE TABLE machines (
    token    TEXT PRIMARY KEY,
    job      TEXT NOT NULL REFERENCES jobs (id),
    epoch    INTEGER NOT NULL,
    node     INTEGER NOT NULL,
    offer    INTEGER NOT NULL,
    provider TEXT NOT NULL,
    realm    TEXT NOT NULL,
    state    TEXT NOT NULL,
    final    INTEGER NOT NULL,
    document TEXT NOT NULL
) STRICT;
CREATE INDEX machines_by_job ON machines (job, epoch, offer, node);
CREATE INDEX machines_live ON machines (token) WHERE final = 0;

CREATE TABLE events (
    seq      INTEGER PRIMARY KEY AUTOINCREMENT,
    job      TEXT NOT NULL REFERENCES jobs (id),
    at       INTEGER NOT NULL,
    document TEXT NOT NULL
) STRICT;
CREATE INDEX events_by_job ON events (job, seq);

CREATE TABLE realms (
    id       TEXT PRIMARY KEY,
    document TEXT NOT NULL
) STRICT;

CREATE TABLE facts (
    name  TEXT PRIMARY KEY,
    value TEXT NOT NULL
) STRICT;
