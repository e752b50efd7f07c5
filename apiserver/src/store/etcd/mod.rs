//! The etcd store: the same model, kept by an etcd of version 3.4 or newer.
//!
//! Enter at [`Etcd::connect`]. A commit is a transaction, a time to live is a lease ([`lease`]), a watch is a watch of the
//! whole key space ([`watch`]). Nothing here relies on etcd's progress notifications, which old versions get wrong.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use etcd_client::{Certificate, Client, Compare, CompareOp, ConnectOptions, Identity, TlsOptions};
use etcd_client::{GetOptions, KeyValue, KvClient, PutOptions, Txn, TxnOp, TxnOpResponse};
use futures::stream::BoxStream;
use tokio::sync::Mutex;

use super::{
    Batch, Commit, CommitError, Condition, Entry, Error, Previous, Range, RangeRequest, Revision, Store, WatchError,
    Write,
};

mod error;
mod lease;
mod watch;

/// An answer of etcd may be as large as what is asked for; the client's own limit of 4 MiB is less than a page of a list.
const MESSAGE_BYTES_MAX: usize = i32::MAX as usize;
/// A read that a broken connection has cut off is tried so many times in all.
const READ_ATTEMPTS: usize = 3;
const READ_RETRY: Duration = Duration::from_millis(100);

/// How to reach an etcd.
#[derive(Clone, Debug)]
pub struct Options {
    /// URLs of some or all members (`--etcd-servers`).
    pub servers: Vec<String>,
    /// Who may sign a member's certificate (`--etcd-cafile`); without it, the system's authorities.
    pub ca_file: Option<PathBuf>,
    /// This client's certificate and its key (`--etcd-certfile`, `--etcd-keyfile`).
    pub certificate: Option<(PathBuf, PathBuf)>,
    /// How long a request may take.
    pub timeout: Duration,
}

/// Makes clients. Each watch has one of its own: a watch that is not read fills the window of its HTTP/2 connection, and
/// everything else on that connection would stand still with it.
#[derive(Clone)]
struct Members {
    servers: Vec<String>,
    connect: ConnectOptions,
}

impl Members {
    async fn client(&self) -> Result<Client, etcd_client::Error> {
        Client::connect(&self.servers, Some(self.connect.clone())).await
    }
}

/// The etcd store.
pub struct Etcd {
    members: Members,
    client: Client,
    leases: lease::Leases,
    timeout: Duration,
    /// Revisions asked for so far.
    asked: AtomicU64,
    /// An answer, and how many had asked before it was fetched: it is good for all of these.
    told: Mutex<Option<(u64, Revision)>>,
}

impl Etcd {
    /// Makes the client. Members need not answer yet: connections are made when they are used, and again when they break.
    /// Fails when a file cannot be read or a URL is none.
    pub async fn connect(options: Options) -> Result<Self, Error> {
        let failed = |reason: String| Error::Failed { operation: "connect to etcd", reason };
        let mut connect = ConnectOptions::new()
            .with_connect_timeout(Duration::from_secs(5))
            .with_keep_alive(Duration::from_secs(30), Duration::from_secs(10))
            .with_keep_alive_while_idle(true)
            .with_require_leader(true);
        if options.servers.iter().any(|server| server.starts_with("https://")) {
            connect = connect.with_tls(tls(&options).map_err(failed)?);
        }
        let members = Members { servers: options.servers, connect };
        let client = members.client().await.map_err(|error| failed(error.to_string()))?;
        let leases = lease::Leases::new(client.lease_client());
        Ok(Self { members, client, leases, timeout: options.timeout, asked: AtomicU64::new(0), told: Mutex::default() })
    }

    fn kv(&self) -> KvClient {
        self.client.kv_client().max_decoding_message_size(MESSAGE_BYTES_MAX)
    }

    /// A read, which may be tried again.
    async fn read(
        &self,
        operation: &'static str,
        key: &str,
        options: GetOptions,
    ) -> Result<etcd_client::GetResponse, Error> {
        let read = async {
            for attempt in 1.. {
                match self.kv().get(key, Some(options.clone())).await {
                    Ok(response) => return Ok(response),
                    Err(error) if attempt < READ_ATTEMPTS && error::is_connection(&error) => {}
                    Err(error) => return Err(error::of_read(operation, error)),
                }
                tokio::time::sleep(READ_RETRY).await;
            }
            Err(Error::Timeout { operation })
        };
        let read = tokio::time::timeout(self.timeout, read).await;
        match read.map_err(|_| Error::Timeout { operation })? {
            // etcd does not tell which revisions there are.
            Err(Error::Compacted { .. }) => Err(Error::Compacted { oldest: watch::oldest(&self.members).await }),
            Err(Error::Future { .. }) => Err(Error::Future { newest: self.revision().await? }),
            read => read,
        }
    }

    async fn transaction(&self, commit: &Commit) -> Result<Txn, Error> {
        let compares = commit.conditions.iter().map(|condition| match condition {
            Condition::Modified { key, revision } => {
                Compare::mod_revision(key.as_str(), CompareOp::Equal, signed(*revision))
            }
            Condition::Absent { key } => Compare::create_revision(key.as_str(), CompareOp::Equal, 0),
        });
        let mut writes = Vec::with_capacity(commit.writes.len());
        for write in &commit.writes {
            writes.push(match write {
                Write::Put { key, value, ttl: None } => TxnOp::put(key.as_str(), value.as_ref(), None),
                Write::Put { key, value, ttl: Some(ttl) } => {
                    let lease = self.leases.get(*ttl).await?;
                    TxnOp::put(key.as_str(), value.as_ref(), Some(PutOptions::new().with_lease(lease)))
                }
                Write::Delete { key } => TxnOp::delete(key.as_str(), None),
            });
        }
        let reads = commit.conditions.iter().map(|condition| TxnOp::get(condition.key(), None));
        Ok(Txn::new().when(compares.collect::<Vec<_>>()).and_then(writes).or_else(reads.collect::<Vec<_>>()))
    }
}

#[async_trait]
impl Store for Etcd {
    async fn get(&self, key: &str, at: Option<Revision>) -> Result<(Option<Entry>, Revision), Error> {
        let options = GetOptions::new().with_revision(at.map_or(0, signed));
        let mut response = self.read("get", key, options).await?;
        let revision = header_revision(response.header());
        Ok((response.take_kvs().pop().map(entry), revision))
    }

    async fn range(&self, request: RangeRequest) -> Result<Range, Error> {
        // An empty key is none; the smallest is a zero byte. As an end, a zero byte means the end of the key space.
        let start = if request.start.is_empty() { "\0" } else { &request.start };
        let end = request.end.as_deref().unwrap_or("\0");
        let mut options = GetOptions::new().with_range(end).with_revision(request.at.map_or(0, signed));
        options = match request.limit {
            // To etcd a limit of 0 is none.
            Some(0) => options.with_count_only(),
            Some(limit) => options.with_limit(i64::try_from(limit).unwrap_or(i64::MAX)),
            None => options,
        };
        let mut response = self.read("range", start, options).await?;
        Ok(Range {
            revision: header_revision(response.header()),
            more: response.count() > response.kvs().len() as i64,
            count: unsigned(response.count()),
            entries: response.take_kvs().into_iter().map(entry).collect(),
        })
    }

    async fn commit(&self, commit: Commit) -> Result<Revision, CommitError> {
        let write = async {
            let transaction = self.transaction(&commit).await?;
            self.kv().txn(transaction).await.map_err(|error| error::of_commit("commit", error))
        };
        let response = tokio::time::timeout(self.timeout, write).await;
        let response = response.map_err(|_| Error::Timeout { operation: "commit" })??;
        if response.succeeded() {
            return Ok(header_revision(response.header()));
        }
        let found = response.op_responses().into_iter().map(|response| match response {
            TxnOpResponse::Get(mut found) => found.take_kvs().pop().map(entry),
            _ => None,
        });
        let violated = commit.conditions.iter().zip(found).find(|(condition, current)| match condition {
            Condition::Modified { revision, .. } => current.as_ref().map(|entry| entry.modified) != Some(*revision),
            Condition::Absent { .. } => current.is_some(),
        });
        match violated {
            Some((condition, current)) => Err(CommitError::Conflict { key: condition.key().to_owned(), current }),
            None => {
                let reason = "etcd refused a commit whose conditions hold".to_owned();
                Err(Error::Failed { operation: "commit", reason }.into())
            }
        }
    }

    async fn revision(&self) -> Result<Revision, Error> {
        let asked = self.asked.fetch_add(1, Ordering::AcqRel);
        let mut told = self.told.lock().await;
        // Who waited for the lock while another asked is answered by the next one's read, which began after its own.
        if let Some((before, revision)) = *told
            && asked < before
        {
            return Ok(revision);
        }
        let before = self.asked.load(Ordering::Acquire);
        // Any linearizable read tells the revision. The key need not exist.
        let response = self.read("revision", "\0", GetOptions::new().with_count_only()).await?;
        let revision = header_revision(response.header());
        *told = Some((before, revision));
        Ok(revision)
    }

    fn watch(&self, from: Revision, previous: Previous) -> BoxStream<'static, Result<Batch, WatchError>> {
        watch::watch(self.members.clone(), from, previous)
    }

    async fn compact(&self, at: Revision) -> Result<(), Error> {
        let mut kv = self.kv();
        let compact = tokio::time::timeout(self.timeout, kv.compact(signed(at), None)).await;
        match compact.map_err(|_| Error::Timeout { operation: "compact" })? {
            Ok(_) => Ok(()),
            Err(error) => match error::of_commit("compact", error) {
                Error::Compacted { .. } => Ok(()),
                Error::Future { .. } => Err(Error::Future { newest: self.revision().await? }),
                error => Err(error),
            },
        }
    }

    async fn size_bytes(&self) -> Result<u64, Error> {
        let operation = "status";
        let mut maintenance = self.client.maintenance_client();
        let status = tokio::time::timeout(self.timeout, maintenance.status()).await;
        let status = status.map_err(|_| Error::Timeout { operation })?;
        Ok(unsigned(status.map_err(|error| error::of_read(operation, error))?.db_size()))
    }
}

fn tls(options: &Options) -> Result<TlsOptions, String> {
    let read = |path: &Path| {
        let failed = |error: io::Error| format!("could not read {}: {error}", path.display());
        std::fs::read(path).map_err(failed)
    };
    let tls = match &options.ca_file {
        Some(path) => TlsOptions::new().ca_certificate(Certificate::from_pem(read(path)?)),
        None => TlsOptions::new().with_native_roots(),
    };
    match &options.certificate {
        Some((certificate, key)) => Ok(tls.identity(Identity::from_pem(read(certificate)?, read(key)?))),
        None => Ok(tls),
    }
}

fn signed(revision: Revision) -> i64 {
    i64::try_from(revision.0).unwrap_or(i64::MAX)
}

fn unsigned(number: i64) -> u64 {
    number.try_into().unwrap_or(0)
}

fn header_revision(header: Option<&etcd_client::ResponseHeader>) -> Revision {
    Revision(header.map_or(0, |header| unsigned(header.revision())))
}

fn entry(found: KeyValue) -> Entry {
    let (created, modified) = (unsigned(found.create_revision()), unsigned(found.mod_revision()));
    let version = unsigned(found.version());
    let (key, value) = found.into_key_value();
    Entry {
        // Our keys are UTF-8; a foreign one need only not look like ours.
        key: String::from_utf8_lossy(&key).into_owned(),
        value: Bytes::from(value),
        created: Revision(created),
        modified: Revision(modified),
        version,
    }
}
