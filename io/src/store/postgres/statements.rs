//! The tables of a log in PostgreSQL, and every statement on them.
//!
//! All are constants: nothing a caller gives is ever part of a statement's text.

/// The layout of the tables that this version writes and reads. It rises when an older version could no longer use
/// them.
pub(super) const LAYOUT_VERSION: i32 = 1;

/// The channel on which commits are announced.
pub(super) const CHANNEL: &str = "timely_persist";

/// What each session is set to, whatever the server's configuration says: an acknowledged commit is on disk, and the
/// argument on [`super::PostgresLog`] is about this isolation level.
pub(super) const SESSION: &str = "SET synchronous_commit = on; SET default_transaction_isolation = 'read committed'";

/// Sets the server's own limit for a statement, in milliseconds.
pub(super) const STATEMENT_TIMEOUT: &str = "SELECT set_config('statement_timeout', $1, false)";

/// Whether the tables are there.
pub(super) const IS_CREATED: &str = "SELECT to_regclass('timely_persist.layout') IS NOT NULL";

/// The layout of the tables that are there.
pub(super) const LAYOUT: &str = "SELECT version FROM timely_persist.layout";

/// Creates the tables. One transaction; the lock lets several processes do so at once. `EXTERNAL`: entries hold data
/// that is compressed already. The fill factor leaves room to update a head in place.
pub(super) const CREATE: &str = "
    BEGIN;
    SELECT pg_advisory_xact_lock(8388357239);
    CREATE SCHEMA IF NOT EXISTS timely_persist;
    CREATE TABLE IF NOT EXISTS timely_persist.head (
        shard uuid PRIMARY KEY,
        seqno bigint NOT NULL
    ) WITH (fillfactor = 50);
    CREATE TABLE IF NOT EXISTS timely_persist.entry (
        shard uuid NOT NULL,
        seqno bigint NOT NULL,
        data bytea NOT NULL,
        PRIMARY KEY (shard, seqno)
    );
    ALTER TABLE timely_persist.entry ALTER COLUMN data SET STORAGE EXTERNAL;
    CREATE TABLE IF NOT EXISTS timely_persist.truncated (
        shard uuid NOT NULL,
        seqno bigint NOT NULL,
        digest bytea NOT NULL,
        PRIMARY KEY (shard, seqno)
    );
    CREATE TABLE IF NOT EXISTS timely_persist.layout (version integer PRIMARY KEY);
    INSERT INTO timely_persist.layout SELECT 1 WHERE NOT EXISTS (SELECT FROM timely_persist.layout);
    COMMIT";

/// The newest entry; null in its place if it was lost.
pub(super) const HEAD: &str = "
    SELECT seqno, data FROM timely_persist.head LEFT JOIN timely_persist.entry USING (shard, seqno) WHERE shard = $1";

/// Entries from a position on.
pub(super) const SCAN: &str =
    "SELECT seqno, data FROM timely_persist.entry WHERE shard = $1 AND seqno >= $2 ORDER BY seqno LIMIT $3";

/// The first commit of a shard: `$2` is 0, and only there so that both commits take the same parameters.
pub(super) const COMMIT_FIRST: &str = "
    WITH head AS (
        INSERT INTO timely_persist.head AS head (shard, seqno) VALUES ($1, $2::bigint + 1)
        ON CONFLICT (shard) DO NOTHING
        RETURNING head.seqno
    )
    INSERT INTO timely_persist.entry (shard, seqno, data) SELECT $1, seqno, $3 FROM head RETURNING seqno";

/// A commit behind the head `$2`.
pub(super) const COMMIT: &str = "
    WITH head AS (
        UPDATE timely_persist.head SET seqno = seqno + 1 WHERE shard = $1 AND seqno = $2
        RETURNING seqno
    )
    INSERT INTO timely_persist.entry (shard, seqno, data) SELECT $1, seqno, $3 FROM head RETURNING seqno";

/// Whether what stands, or stood, at a position is `$3`; null if nobody knows any more. No row if it was never written.
pub(super) const SETTLE: &str = "
    SELECT coalesce(
        (SELECT data = $3 FROM timely_persist.entry WHERE shard = $1 AND seqno = $2),
        (SELECT digest = sha256($3) FROM timely_persist.truncated WHERE shard = $1 AND seqno = $2)
    ) FROM timely_persist.head WHERE shard = $1 AND seqno >= $2";

/// Removes the entries below `$2`, the head excepted, and keeps digests of the newest `$3` of them. Rows are locked in
/// the order of their positions, so that two truncations do not wait for each other.
pub(super) const TRUNCATE: &str = "
    WITH bound AS (
        SELECT least($2, seqno) AS below FROM timely_persist.head WHERE shard = $1
    ), doomed AS (
        SELECT entry.seqno FROM timely_persist.entry, bound
        WHERE shard = $1 AND entry.seqno < bound.below
        ORDER BY entry.seqno FOR UPDATE OF entry
    ), gone AS (
        DELETE FROM timely_persist.entry USING doomed
        WHERE entry.shard = $1 AND entry.seqno = doomed.seqno
        RETURNING entry.seqno, entry.data
    ), kept AS (
        INSERT INTO timely_persist.truncated (shard, seqno, digest)
        SELECT $1, gone.seqno, sha256(gone.data) FROM gone, bound WHERE gone.seqno >= bound.below - $3
        ON CONFLICT DO NOTHING
    ), forgotten AS (
        DELETE FROM timely_persist.truncated USING bound
        WHERE truncated.shard = $1 AND truncated.seqno < bound.below - $3
    )
    SELECT count(*) FROM gone";

/// Announces commits, one text each.
pub(super) const ANNOUNCE: &str = "SELECT pg_notify('timely_persist', news) FROM unnest($1::text[]) AS news";

/// Begins to hear announcements.
pub(super) const LISTEN: &str = "LISTEN timely_persist";
