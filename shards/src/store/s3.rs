//! S3-compatible object storage. The only place that runs tokio outside `trackd`.
//!
//! Credentials, region and endpoint come from the usual variables: `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`,
//! `AWS_SESSION_TOKEN`, `AWS_REGION`, `AWS_ENDPOINT`, `AWS_ALLOW_HTTP`. Failed requests are repeated with growing pauses.

use super::{Objects, StoreError};
use object_store::aws::{AmazonS3, AmazonS3Builder, S3ConditionalPut};
use object_store::path::Path as Key;
use object_store::{
    Error, GetOptions, GetRange, ObjectStore as _, ObjectStoreExt as _, PutMode, PutOptions, WriteMultipart,
};
use std::fs::File;
use std::future::Future;
use std::io::{self, Cursor, Read};
use std::path::Path;
use std::sync::Arc;
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;

/// Bytes of one request: large enough for full speed, small enough to be repeated.
const CHUNK: usize = 8 << 20;
/// Parts of an upload that are on their way at once.
const PARTS: usize = 4;

/// A bucket, or a prefix in one.
#[derive(Debug)]
pub struct S3 {
    url: String,
    prefix: String,
    store: Arc<AmazonS3>,
    runtime: Arc<Runtime>,
}

impl S3 {
    /// Prepares the way to a bucket; nothing is asked of it yet.
    pub fn open(url: &str, bucket: &str, prefix: &str) -> Result<Self, StoreError> {
        let fail = |message: String| StoreError::new("open", url, message);
        let store = AmazonS3Builder::from_env()
            .with_bucket_name(bucket)
            .with_conditional_put(S3ConditionalPut::ETagMatch)
            .build()
            .map_err(|error| fail(format!("{error}; check the AWS_ variables")))?;
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
        let runtime = runtime.map_err(|error| fail(error.to_string()))?;
        Ok(Self { url: url.to_owned(), prefix: prefix.to_owned(), store: Arc::new(store), runtime: Arc::new(runtime) })
    }

    fn key(&self, name: &str) -> Key {
        let parts = [self.prefix.as_str(), name];
        Key::from(parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("/"))
    }

    fn run<T>(
        &self,
        action: &'static str,
        name: &str,
        work: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, StoreError> {
        self.runtime.block_on(work).map_err(|error| {
            let advice = match &error {
                Error::NotFound { .. } => "",
                Error::Unauthenticated { .. } | Error::PermissionDenied { .. } => "; check the AWS_ credentials",
                _ => "; check the network, AWS_ENDPOINT and AWS_REGION, then run the same command again",
            };
            StoreError::new(action, format!("{}/{name}", self.url), format!("{error}{advice}"))
        })
    }
}

/// `None` for what does not exist.
fn existing<T>(result: Result<T, Error>) -> Result<Option<T>, Error> {
    match result {
        Err(Error::NotFound { .. }) => Ok(None),
        other => other.map(Some),
    }
}

impl Objects for S3 {
    fn url(&self) -> &str {
        &self.url
    }

    fn get(&self, name: &str) -> Result<Option<Vec<u8>>, StoreError> {
        let key = self.key(name);
        self.run("read", name, async {
            match existing(self.store.get(&key).await)? {
                Some(found) => Ok(Some(found.bytes().await?.to_vec())),
                None => Ok(None),
            }
        })
    }

    fn size(&self, name: &str) -> Result<Option<u64>, StoreError> {
        let key = self.key(name);
        self.run("read", name, async { Ok(existing(self.store.head(&key).await)?.map(|meta| meta.size)) })
    }

    fn put(&self, name: &str, bytes: &[u8]) -> Result<(), StoreError> {
        let key = self.key(name);
        self.run("write", name, async { self.store.put(&key, bytes.to_vec().into()).await.map(drop) })
    }

    fn create(&self, name: &str, bytes: &[u8]) -> Result<bool, StoreError> {
        let key = self.key(name);
        let options = PutOptions { mode: PutMode::Create, ..PutOptions::default() };
        self.run("write", name, async {
            match self.store.put_opts(&key, bytes.to_vec().into(), options).await {
                Err(Error::AlreadyExists { .. }) => Ok(false),
                other => other.map(|_| true),
            }
        })
    }

    fn upload(&self, name: &str, file: &Path) -> Result<(), StoreError> {
        let io = |error: io::Error| StoreError::new("read", file.display().to_string(), error);
        let mut file = File::open(file).map_err(io)?;
        let mut chunk = Vec::with_capacity(CHUNK);
        let mut next = |chunk: &mut Vec<u8>| {
            chunk.clear();
            (&mut file).take(CHUNK as u64).read_to_end(chunk).map_err(io)
        };
        if next(&mut chunk)? < CHUNK {
            return self.put(name, &chunk);
        }
        let key = self.key(name);
        let parts = self.run("write", name, self.store.put_multipart(&key))?;
        let mut parts = WriteMultipart::new_with_chunk_size(parts, CHUNK);
        loop {
            let sent = self.run("write", name, async {
                parts.wait_for_capacity(PARTS).await?;
                // `write` starts tasks, so it must be called where the runtime is known.
                parts.write(&chunk);
                Ok(())
            });
            let more = sent.and_then(|()| next(&mut chunk));
            match more {
                Ok(0) => break,
                Ok(_) => {}
                Err(error) => {
                    // Parts that stay behind are the bucket's to expire; the first error is the one to tell.
                    drop(self.run("write", name, parts.abort()));
                    return Err(error);
                }
            }
        }
        self.run("write", name, async { parts.finish().await.map(drop) })
    }

    fn names(&self) -> Result<Vec<String>, StoreError> {
        let prefix = self.key("");
        let list = self.run("list", "", async { self.store.list_with_delimiter(Some(&prefix)).await })?;
        let keys = list.common_prefixes.iter().chain(list.objects.iter().map(|object| &object.location));
        let mut names: Vec<String> = keys.filter_map(|key| key.filename().map(str::to_owned)).collect();
        names.sort();
        Ok(names)
    }

    fn read(&self, name: &str) -> Result<Box<dyn Read + Send>, StoreError> {
        let key = self.key(name);
        let meta = self.run("read", name, async { self.store.head(&key).await })?;
        let mut chunks = Chunks {
            store: Arc::clone(&self.store),
            runtime: Arc::clone(&self.runtime),
            key,
            etag: meta.e_tag,
            size: meta.size,
            asked: 0,
            ahead: None,
            now: Cursor::default(),
        };
        chunks.ask();
        Ok(Box::new(chunks))
    }
}

/// An object as a stream of requests, one ahead of the reader. All of them are for the same version of the object.
struct Chunks {
    store: Arc<AmazonS3>,
    runtime: Arc<Runtime>,
    key: Key,
    etag: Option<String>,
    size: u64,
    asked: u64,
    ahead: Option<JoinHandle<Result<Vec<u8>, Error>>>,
    now: Cursor<Vec<u8>>,
}

impl Chunks {
    /// Starts the next request, unless everything has been asked for.
    fn ask(&mut self) {
        if self.asked >= self.size {
            return;
        }
        let end = self.size.min(self.asked + CHUNK as u64);
        let options = GetOptions {
            range: Some(GetRange::Bounded(self.asked..end)),
            if_match: self.etag.clone(),
            ..GetOptions::default()
        };
        let (store, key) = (Arc::clone(&self.store), self.key.clone());
        self.asked = end;
        self.ahead = Some(self.runtime.spawn(async move {
            let got = store.get_opts(&key, options).await?;
            Ok(got.bytes().await?.to_vec())
        }));
    }
}

impl Read for Chunks {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let n = self.now.read(buf)?;
        let Some(ahead) = (n == 0 && !buf.is_empty()).then(|| self.ahead.take()).flatten() else { return Ok(n) };
        let got = self.runtime.block_on(ahead).map_err(io::Error::other)?;
        self.now = Cursor::new(got.map_err(io::Error::other)?);
        self.ask();
        self.now.read(buf)
    }
}
