//! The daemon's memory: one SQLite file in WAL mode, flushed at every commit. Other processes (`trackd status`,
//! `trackd init`, ...) read it and leave requests in it while the daemon runs.

use crate::job::{Job, State};
use rusqlite::{Connection, ErrorCode, OptionalExtension, Row, TransactionBehavior, params};
use schemas::result::ErrorDoc;
use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Version of the tables this release writes.
const VERSION: i64 = 3;
/// Longest wait for another process that writes.
const BUSY: Duration = Duration::from_secs(10);

/// Why the journal cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// SQLite refused.
    #[error("journal {path}: {source}", path = path.display())]
    Sqlite {
        /// The file.
        path: PathBuf,
        /// The reason.
        source: rusqlite::Error,
    },
    /// The file is newer.
    #[error("journal {path} has version {found}, this program knows {VERSION}: use a newer release", path = path.display())]
    TooNew {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: i64,
    },
    /// A row does not make sense.
    #[error("journal {path}: job {id} has the unknown state {state:?}", path = path.display())]
    State {
        /// The file.
        path: PathBuf,
        /// The job.
        id: String,
        /// Its state.
        state: String,
    },
}

impl JournalError {
    /// Whether it may work later: the disk is full, or another process writes for a long time.
    #[must_use]
    pub fn passing(&self) -> bool {
        use rusqlite::ErrorCode::{DatabaseBusy, DatabaseLocked, DiskFull, SystemIoFailure};
        matches!(self, Self::Sqlite { source, .. } if matches!(
            source.sqlite_error_code(),
            Some(DatabaseBusy | DatabaseLocked | DiskFull | SystemIoFailure)
        ))
    }
}

/// A job as stored.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// Identity.
    pub id: String,
    /// File or folder name in the inbox.
    pub file: OsString,
    /// Name of its results.
    pub name: String,
    /// Where it stands.
    pub job: Job,
    /// A box given by hand, `[x, y, w, h]`.
    pub given: Option<[f64; 4]>,
    /// Why it failed last.
    pub error: Option<ErrorDoc>,
    /// Folder of its result or failure.
    pub result: Option<String>,
    /// Seconds since 1970 when it was first seen.
    pub created: i64,
    /// Seconds since 1970 of its last change.
    pub updated: i64,
    /// A request to try it again is waiting.
    pub retry: bool,
    /// Hash of all that its result depends on, once there is one.
    pub content: Option<String>,
}

impl Entry {
    /// The job as `trackd list --json` shows it.
    #[must_use]
    pub fn document(&self) -> serde_json::Value {
        let time = |s: i64| jiff::Timestamp::from_second(s).map_or_else(|_| String::new(), |t| t.to_string());
        serde_json::json!({
            "id": self.id,
            "name": self.name,
            "file": self.file.to_string_lossy(),
            "state": self.job.state.as_str(),
            "attempts": self.job.attempts,
            "result": self.result,
            "error": self.error,
            "init": self.given,
            "retry_asked": self.retry,
            "cancel_asked": self.job.cancelled,
            "seen": time(self.created),
            "updated": time(self.updated),
        })
    }
}

/// The open journal.
#[derive(Debug)]
pub struct Journal {
    db: Connection,
    path: PathBuf,
    /// Ends of jobs are noted as not told yet.
    tells: bool,
}

fn now() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs() as i64)
}

fn is_busy(error: &rusqlite::Error) -> bool {
    matches!(error.sqlite_error_code(), Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked))
}

/// Makes the tables of [`VERSION`] out of nothing or those of an older version.
fn renew(db: &Connection) -> rusqlite::Result<()> {
    db.execute_batch(
        "CREATE TABLE IF NOT EXISTS jobs (
            id TEXT PRIMARY KEY, file BLOB NOT NULL, name TEXT NOT NULL, state TEXT NOT NULL,
            attempts INTEGER NOT NULL, starts INTEGER NOT NULL, not_before INTEGER NOT NULL,
            given TEXT, error TEXT, result TEXT, created INTEGER NOT NULL, updated INTEGER NOT NULL,
            retry INTEGER NOT NULL DEFAULT 0) STRICT;
         CREATE INDEX IF NOT EXISTS by_state ON jobs (state);
         CREATE TABLE IF NOT EXISTS history (
            at INTEGER NOT NULL, job TEXT NOT NULL, state TEXT NOT NULL) STRICT;",
    )?;
    for (column, kind) in
        [("cancel", "INTEGER NOT NULL DEFAULT 0"), ("told", "INTEGER NOT NULL DEFAULT 1"), ("content", "TEXT")]
    {
        let there = "SELECT count(*) FROM pragma_table_info('jobs') WHERE name = ?1";
        if db.query_row(there, [column], |r| r.get::<_, i64>(0))? == 0 {
            db.execute(&format!("ALTER TABLE jobs ADD COLUMN {column} {kind}"), [])?;
        }
    }
    db.execute("CREATE INDEX IF NOT EXISTS by_content ON jobs (content)", [])?;
    db.pragma_update(None, "user_version", VERSION)
}

impl Journal {
    /// Opens or makes `journal.sqlite` in the folder `state`.
    ///
    /// # Errors
    /// [`JournalError`] when the file cannot be made, is no journal, or is newer.
    pub fn open(state: &Path) -> Result<Self, JournalError> {
        Self::connect(state, rusqlite::OpenFlags::default())
    }

    /// Opens an existing journal.
    ///
    /// # Errors
    /// As [`Journal::open`], and when there is none.
    pub fn existing(state: &Path) -> Result<Self, JournalError> {
        Self::connect(state, rusqlite::OpenFlags::default() & !rusqlite::OpenFlags::SQLITE_OPEN_CREATE)
    }

    /// Opens the file; while others make, renew or close it, waits for them up to [`BUSY`]. SQLite does not wait by
    /// itself for everything done here: the change to WAL fails at once where another connection has a lock.
    fn connect(state: &Path, flags: rusqlite::OpenFlags) -> Result<Self, JournalError> {
        let since = Instant::now();
        loop {
            match Self::connect_once(state, flags) {
                Err(JournalError::Sqlite { source, .. }) if is_busy(&source) && since.elapsed() < BUSY => {
                    std::thread::sleep(Duration::from_millis(10));
                }
                opened => return opened,
            }
        }
    }

    fn connect_once(state: &Path, flags: rusqlite::OpenFlags) -> Result<Self, JournalError> {
        let path = state.join("journal.sqlite");
        let wrap = |source| JournalError::Sqlite { path: path.clone(), source };
        let mut db = Connection::open_with_flags(&path, flags).map_err(wrap)?;
        db.busy_timeout(BUSY).map_err(wrap)?;
        db.pragma_update(None, "journal_mode", "wal").map_err(wrap)?;
        db.pragma_update(None, "synchronous", "full").map_err(wrap)?;
        let version = |db: &Connection| db.pragma_query_value(None, "user_version", |r| r.get::<_, i64>(0));
        let mut found = version(&db).map_err(wrap)?;
        if found < VERSION {
            // Several programs may find the old version at the same time: the first to get the lock makes the new one.
            let change = db.transaction_with_behavior(TransactionBehavior::Immediate).map_err(wrap)?;
            found = version(&change).map_err(wrap)?;
            if found < VERSION {
                renew(&change).map_err(wrap)?;
                change.commit().map_err(wrap)?;
                found = VERSION;
            }
        }
        if found > VERSION {
            return Err(JournalError::TooNew { path, found });
        }
        Ok(Self { db, path, tells: false })
    }

    /// From now on ends of jobs wait to be told to others, see [`Journal::untold`].
    pub fn tell_ends(&mut self) {
        self.tells = true;
    }

    fn wrap(&self) -> impl Fn(rusqlite::Error) -> JournalError + '_ {
        |source| JournalError::Sqlite { path: self.path.clone(), source }
    }

    /// Adds a job.
    ///
    /// # Errors
    /// [`JournalError`] when it cannot be stored.
    pub fn add(&mut self, id: &str, file: &OsStr, name: &str, job: Job) -> Result<Entry, JournalError> {
        let time = now();
        let sql = "INSERT INTO jobs (id, file, name, state, attempts, starts, not_before, created, updated)
                   VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?8)";
        self.db
            .execute(
                sql,
                params![
                    id,
                    file.as_bytes(),
                    name,
                    job.state.as_str(),
                    job.attempts,
                    job.starts,
                    job.not_before as i64,
                    time
                ],
            )
            .map_err(self.wrap())?;
        self.note(id, job.state)?;
        Ok(Entry {
            id: id.to_owned(),
            file: file.to_owned(),
            name: name.to_owned(),
            job,
            given: None,
            error: None,
            result: None,
            created: time,
            updated: time,
            retry: false,
            content: None,
        })
    }

    fn note(&self, id: &str, state: State) -> Result<(), JournalError> {
        let sql = "INSERT INTO history (at, job, state) VALUES (?1, ?2, ?3)";
        self.db.execute(sql, params![now(), id, state.as_str()]).map_err(self.wrap()).map(|_| ())
    }

    /// Stores where a job stands, why it failed, and where its result is; durable when this returns. Requests that
    /// others left stay.
    ///
    /// # Errors
    /// [`JournalError`] when it cannot be stored.
    pub fn store(&mut self, entry: &Entry) -> Result<(), JournalError> {
        self.write(entry, false)
    }

    /// Like [`Journal::store`], and marks the request to try the job again as answered.
    ///
    /// # Errors
    /// [`JournalError`] when it cannot be stored.
    pub fn answer_retry(&mut self, entry: &Entry) -> Result<(), JournalError> {
        self.write(entry, true)
    }

    fn write(&mut self, entry: &Entry, answered: bool) -> Result<(), JournalError> {
        let Entry { id, job, error, result, .. } = entry;
        let error = error.as_ref().map(|e| serde_json::json!(e).to_string());
        let path = self.path.clone();
        let ends = self.tells && matches!(job.state, State::Done | State::Failed);
        let wrap = |source| JournalError::Sqlite { path: path.clone(), source };
        let transaction = self.db.transaction().map_err(wrap)?;
        let changed = transaction
            .execute(
                "UPDATE jobs SET state = ?2, attempts = ?3, starts = ?4, not_before = ?5, error = ?6, result = ?7,
                 updated = ?8, retry = retry AND NOT ?9, told = NOT ?10, content = ?11 WHERE id = ?1",
                params![
                    id,
                    job.state.as_str(),
                    job.attempts,
                    job.starts,
                    job.not_before as i64,
                    error,
                    result,
                    now(),
                    answered,
                    ends,
                    entry.content
                ],
            )
            .map_err(wrap)?;
        if changed == 1 {
            let sql = "INSERT INTO history (at, job, state) VALUES (?1, ?2, ?3)";
            transaction.execute(sql, params![now(), id, job.state.as_str()]).map_err(wrap)?;
        }
        transaction.commit().map_err(wrap)
    }

    /// All jobs, oldest first.
    ///
    /// # Errors
    /// [`JournalError`] when they cannot be read.
    pub fn all(&self) -> Result<Vec<Entry>, JournalError> {
        self.query("SELECT * FROM jobs ORDER BY created, rowid", [])
    }

    /// Jobs that are not over, and those somebody wants to try again; oldest first.
    ///
    /// # Errors
    /// [`JournalError`] when they cannot be read.
    pub fn open_jobs(&self) -> Result<Vec<Entry>, JournalError> {
        let sql =
            "SELECT * FROM jobs WHERE state NOT IN ('done', 'failed', 'gone') OR retry = 1 ORDER BY created, rowid";
        self.query(sql, [])
    }

    /// The `limit` jobs that were over last, the latest first.
    ///
    /// # Errors
    /// [`JournalError`] when they cannot be read.
    pub fn latest(&self, limit: u32) -> Result<Vec<Entry>, JournalError> {
        let sql = "SELECT * FROM jobs WHERE state IN ('done', 'failed') ORDER BY updated DESC, rowid DESC LIMIT ?1";
        self.query(sql, [limit])
    }

    /// Jobs whose end nobody has been told of, oldest first.
    ///
    /// # Errors
    /// [`JournalError`] when they cannot be read.
    pub fn untold(&self) -> Result<Vec<Entry>, JournalError> {
        self.query("SELECT * FROM jobs WHERE told = 0 AND state IN ('done', 'failed') ORDER BY updated, rowid", [])
    }

    /// Notes that the end of a job was told.
    ///
    /// # Errors
    /// [`JournalError`] when it cannot be stored.
    pub fn told(&self, id: &str) -> Result<(), JournalError> {
        self.db.execute("UPDATE jobs SET told = 1 WHERE id = ?1", [id]).map_err(self.wrap()).map(|_| ())
    }

    /// Jobs that ended in `state` at least `seconds` ago and whose results are still there.
    ///
    /// # Errors
    /// [`JournalError`] when they cannot be read.
    pub fn older(&self, state: State, seconds: i64) -> Result<Vec<Entry>, JournalError> {
        let sql = "SELECT * FROM jobs WHERE state = ?1 AND updated <= ?2 AND result IS NOT NULL AND retry = 0";
        self.query(sql, params![state.as_str(), now() - seconds])
    }

    /// Notes that a job's results are no longer there.
    ///
    /// # Errors
    /// [`JournalError`] when it cannot be stored.
    pub fn removed(&self, id: &str) -> Result<(), JournalError> {
        self.db.execute("UPDATE jobs SET result = NULL WHERE id = ?1", [id]).map_err(self.wrap()).map(|_| ())
    }

    /// Results of the same content that are still there, the latest first.
    ///
    /// # Errors
    /// [`JournalError`] when they cannot be read.
    pub fn same(&self, content: &str) -> Result<Vec<Entry>, JournalError> {
        let sql = "SELECT * FROM jobs WHERE content = ?1 AND state = 'done' AND result IS NOT NULL
                   ORDER BY updated DESC, rowid DESC";
        self.query(sql, [content])
    }

    /// How many jobs are in each state.
    ///
    /// # Errors
    /// [`JournalError`] when they cannot be counted.
    pub fn counts(&self) -> Result<BTreeMap<&'static str, u64>, JournalError> {
        let mut counts: BTreeMap<_, _> = State::ALL.iter().map(|state| (state.as_str(), 0)).collect();
        let mut statement = self.db.prepare("SELECT state, COUNT(*) FROM jobs GROUP BY state").map_err(self.wrap())?;
        let rows =
            statement.query_map([], |r| Ok((r.get::<_, String>(0)?, r.get::<_, u32>(1)?))).map_err(self.wrap())?;
        for row in rows {
            let (state, count) = row.map_err(self.wrap())?;
            if let Some(state) = State::parse(&state) {
                counts.insert(state.as_str(), u64::from(count));
            }
        }
        Ok(counts)
    }

    /// The job of that identity, or the latest one of that name or file name.
    ///
    /// # Errors
    /// [`JournalError`] when it cannot be read.
    pub fn find(&self, job: &str) -> Result<Option<Entry>, JournalError> {
        let sql = "SELECT * FROM jobs WHERE id = ?1 OR name = ?1 OR file = CAST(?1 AS BLOB)
                   ORDER BY (id = ?1) DESC, state IN ('gone') ASC, created DESC, rowid DESC LIMIT 1";
        Ok(self.query(sql, [job])?.pop())
    }

    fn query(&self, sql: &str, params: impl rusqlite::Params) -> Result<Vec<Entry>, JournalError> {
        let mut statement = self.db.prepare(sql).map_err(self.wrap())?;
        let rows = statement.query_map(params, raw).map_err(self.wrap())?;
        rows.map(|row| {
            let (mut entry, state) = row.map_err(self.wrap())?;
            let bad = || JournalError::State { path: self.path.clone(), id: entry.id.clone(), state: state.clone() };
            entry.job.state = State::parse(&state).ok_or_else(bad)?;
            Ok(entry)
        })
        .collect()
    }

    /// Leaves a box for a job.
    ///
    /// # Errors
    /// [`JournalError`] when it cannot be stored.
    pub fn give_box(&self, id: &str, rect: [f64; 4]) -> Result<(), JournalError> {
        let text = serde_json::json!(rect).to_string();
        self.db
            .execute("UPDATE jobs SET given = ?2, updated = ?3 WHERE id = ?1", params![id, text, now()])
            .map_err(self.wrap())
            .map(|_| ())
    }

    /// Leaves a request to try a job again; takes back one to end it.
    ///
    /// # Errors
    /// [`JournalError`] when it cannot be stored.
    pub fn ask_retry(&self, id: &str) -> Result<(), JournalError> {
        self.ask("UPDATE jobs SET retry = 1, cancel = 0, updated = ?2 WHERE id = ?1", id)
    }

    /// Leaves a request to end a job.
    ///
    /// # Errors
    /// [`JournalError`] when it cannot be stored.
    pub fn ask_cancel(&self, id: &str) -> Result<(), JournalError> {
        self.ask("UPDATE jobs SET cancel = 1, updated = ?2 WHERE id = ?1", id)
    }

    fn ask(&self, sql: &str, id: &str) -> Result<(), JournalError> {
        self.db.execute(sql, params![id, now()]).map_err(self.wrap()).map(|_| ())
    }

    /// The box somebody gave a job.
    ///
    /// # Errors
    /// [`JournalError`] when it cannot be read.
    pub fn given(&self, id: &str) -> Result<Option<[f64; 4]>, JournalError> {
        let text: Option<Option<String>> = self
            .db
            .query_row("SELECT given FROM jobs WHERE id = ?1", [id], |r| r.get(0))
            .optional()
            .map_err(self.wrap())?;
        Ok(text.flatten().and_then(|t| serde_json::from_str(&t).ok()))
    }

    /// A number that changes whenever another process has written.
    ///
    /// # Errors
    /// [`JournalError`] when it cannot be read.
    pub fn data_version(&self) -> Result<i64, JournalError> {
        self.db.pragma_query_value(None, "data_version", |r| r.get(0)).map_err(self.wrap())
    }

    /// Every state a job went through, in order.
    ///
    /// # Errors
    /// [`JournalError`] when it cannot be read.
    pub fn history(&self, id: &str) -> Result<Vec<String>, JournalError> {
        let mut statement =
            self.db.prepare("SELECT state FROM history WHERE job = ?1 ORDER BY rowid").map_err(self.wrap())?;
        let rows = statement.query_map([id], |r| r.get(0)).map_err(self.wrap())?;
        rows.map(|r| r.map_err(self.wrap())).collect()
    }
}

/// A row, with its state still as text.
fn raw(row: &Row<'_>) -> rusqlite::Result<(Entry, String)> {
    let given: Option<String> = row.get("given")?;
    let error: Option<String> = row.get("error")?;
    let job = Job {
        attempts: row.get("attempts")?,
        starts: row.get("starts")?,
        not_before: row.get::<_, i64>("not_before")?.max(0) as u64,
        cancelled: row.get("cancel")?,
        ..Job::new()
    };
    let entry = Entry {
        id: row.get("id")?,
        file: OsString::from_vec(row.get("file")?),
        name: row.get("name")?,
        job,
        given: given.and_then(|t| serde_json::from_str(&t).ok()),
        error: error.and_then(|t| serde_json::from_str(&t).ok()),
        result: row.get("result")?,
        created: row.get("created")?,
        updated: row.get("updated")?,
        retry: row.get("retry")?,
        content: row.get("content")?,
    };
    Ok((entry, row.get("state")?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_stored_is_there_after_opening_again() {
        let folder = tempfile::tempdir().unwrap();
        let odd = OsStr::from_bytes(b"clip\xff\n.mp4");
        let mut journal = Journal::open(folder.path()).unwrap();
        let mut entry = journal.add("j1", odd, "clip", Job::new()).unwrap();
        entry.job.state = State::Running;
        entry.job.starts = 2;
        entry.result = Some("done/clip".to_owned());
        journal.store(&entry).unwrap();
        drop(journal);
        let journal = Journal::existing(folder.path()).unwrap();
        let all = journal.all().unwrap();
        assert_eq!(all.len(), 1);
        assert_eq!((all[0].file.as_os_str(), all[0].job.state, all[0].job.starts), (odd, State::Running, 2));
        assert_eq!(journal.history("j1").unwrap(), ["seen", "running"]);
        assert_eq!(journal.find("clip").unwrap().unwrap().id, "j1");
        assert!(journal.find("other").unwrap().is_none());
    }

    #[test]
    fn an_old_journal_is_taken_over() {
        let folder = tempfile::tempdir().unwrap();
        let mut journal = Journal::open(folder.path()).unwrap();
        journal.add("j1", OsStr::new("a.mp4"), "a", Job::new()).unwrap();
        drop(journal);
        let db = Connection::open(folder.path().join("journal.sqlite")).unwrap();
        db.execute_batch(
            "DROP INDEX by_content; ALTER TABLE jobs DROP COLUMN content; ALTER TABLE jobs DROP COLUMN cancel; ALTER TABLE jobs DROP COLUMN told; PRAGMA user_version = 1;",
        )
        .unwrap();
        drop(db);
        let journal = Journal::existing(folder.path()).unwrap();
        assert!(!journal.all().unwrap()[0].job.cancelled);
        journal.ask_cancel("j1").unwrap();
        assert!(journal.all().unwrap()[0].job.cancelled);
        assert_eq!(journal.counts().unwrap()["seen"], 1);
        assert!(journal.latest(5).unwrap().is_empty());
    }

    #[test]
    fn many_may_open_a_new_journal_at_once() {
        for round in 0..20 {
            let folder = tempfile::tempdir().unwrap();
            let together = std::sync::Barrier::new(16);
            std::thread::scope(|scope| {
                for _ in 0..16 {
                    scope.spawn(|| {
                        together.wait();
                        let journal = Journal::open(folder.path()).unwrap_or_else(|e| panic!("round {round}: {e}"));
                        assert!(journal.counts().unwrap().values().all(|n| *n == 0));
                    });
                }
            });
            assert!(Journal::existing(folder.path()).unwrap().all().unwrap().is_empty());
        }
    }

    #[test]
    fn requests_of_others_are_noticed() {
        let folder = tempfile::tempdir().unwrap();
        let mut daemon = Journal::open(folder.path()).unwrap();
        daemon.add("j1", OsStr::new("a.mp4"), "a", Job::new()).unwrap();
        let before = daemon.data_version().unwrap();
        assert_eq!(daemon.data_version().unwrap(), before);
        let client = Journal::existing(folder.path()).unwrap();
        client.give_box("j1", [1.0, 2.0, 3.0, 4.5]).unwrap();
        client.ask_retry("j1").unwrap();
        assert_ne!(daemon.data_version().unwrap(), before);
        assert_eq!(daemon.given("j1").unwrap(), Some([1.0, 2.0, 3.0, 4.5]));
        assert!(daemon.all().unwrap()[0].retry);
    }

    #[test]
    fn foreign_and_newer_files_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        assert!(matches!(Journal::existing(folder.path()), Err(JournalError::Sqlite { .. })));
        drop(Journal::open(folder.path()).unwrap());
        let db = Connection::open(folder.path().join("journal.sqlite")).unwrap();
        db.pragma_update(None, "user_version", 9).unwrap();
        drop(db);
        assert!(matches!(Journal::open(folder.path()), Err(JournalError::TooNew { found: 9, .. })));
        std::fs::write(folder.path().join("journal.sqlite"), vec![7; 5000]).unwrap();
        assert!(matches!(Journal::open(folder.path()), Err(JournalError::Sqlite { .. })));
    }
}
