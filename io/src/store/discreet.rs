//! A bucket that keeps its credentials to itself: they are in no error of it, and not in its `Debug`.
//!
//! A server repeats what it was sent: S3 puts the session token into the answer that refuses it. So an error keeps of a
//! server's XML only the code and the message, and of all text nothing that is known to be secret. The types below
//! print their keys with `{:?}`; this one prints its name.
//!
//! What it does not do: it forwards only what this library asks of a bucket; uploads in parts, copies and renames are
//! refused.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, GetResultPayload, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, RenameOptions, Result,
};

/// What is never repeated.
#[derive(Clone, Default)]
pub struct Secrets(Arc<[String]>);

/// Shorter values are words that a message may well contain.
const SECRET_BYTES_MIN: usize = 6;

/// What stands for a secret.
const REDACTED: &str = "[redacted]";

impl Secrets {
    /// These values, as they are and as they look in a URL. Values of less than 6 bytes are not looked for.
    pub fn new(values: impl IntoIterator<Item = String>) -> Self {
        let long = values.into_iter().filter(|value| value.len() >= SECRET_BYTES_MIN);
        let spellings = long.flat_map(|value| {
            let encoded = url::form_urlencoded::byte_serialize(value.as_bytes()).collect();
            [encoded, value]
        });
        let mut all: Vec<String> = spellings.collect();
        all.sort_by_key(|value| std::cmp::Reverse(value.len())); // one may be part of another
        all.dedup();
        Self(all.into())
    }

    /// The text without secrets, and without what a server said besides its code and its message.
    pub fn redact(&self, text: &str) -> String {
        let mut text = without_markup(text);
        for secret in &*self.0 {
            if text.contains(secret) {
                text = text.replace(secret, REDACTED);
            }
        }
        text
    }

    /// The error in words, its causes included, and nothing else of it.
    pub fn words(&self, error: &(dyn std::error::Error + 'static)) -> Words {
        let mut text = error.to_string();
        let mut source = error.source();
        while let Some(cause) = source {
            let cause_text = cause.to_string();
            if !text.contains(&cause_text) {
                text = format!("{text}: {cause_text}");
            }
            source = cause.source();
        }
        Words(self.redact(&text))
    }

    fn error(&self, error: Error) -> Error {
        let words = |source: Box<dyn std::error::Error + Send + Sync>| self.words(&*source).into();
        match error {
            Error::Generic { store, source } => Error::Generic { store, source: words(source) },
            Error::NotFound { path, source } => Error::NotFound { path, source: words(source) },
            Error::NotSupported { source } => Error::NotSupported { source: words(source) },
            Error::AlreadyExists { path, source } => Error::AlreadyExists { path, source: words(source) },
            Error::Precondition { path, source } => Error::Precondition { path, source: words(source) },
            Error::NotModified { path, source } => Error::NotModified { path, source: words(source) },
            Error::PermissionDenied { path, source } => Error::PermissionDenied { path, source: words(source) },
            Error::Unauthenticated { path, source } => Error::Unauthenticated { path, source: words(source) },
            other @ (Error::InvalidPath { .. } | Error::NotImplemented { .. }) => other,
            other => Error::Generic { store: "bucket", source: self.words(&other).into() },
        }
    }
}

/// Counts them.
impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} secrets", self.0.len())
    }
}

/// An error of which only words are left.
#[derive(Debug)]
pub struct Words(String);

impl fmt::Display for Words {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Words {}

/// Replaces the XML of a server's answer by its code and message.
fn without_markup(text: &str) -> String {
    let Some(start) = text.find("<?xml").or_else(|| text.find("<Error")) else { return text.to_owned() };
    let end = text.rfind('>').map_or(text.len(), |end| end + 1);
    let Some(markup) = text.get(start..end) else { return text.to_owned() };
    let element = |name: &str| {
        let (_, rest) = markup.split_once(&format!("<{name}>"))?;
        rest.split_once(&format!("</{name}>")).map(|(content, _)| content.trim())
    };
    let said: Vec<&str> = ["Code", "Message"].into_iter().filter_map(element).collect();
    format!("{}{}{}", &text[..start], said.join(": "), &text[end..])
}

/// The decorator.
#[derive(Clone)]
pub struct DiscreetStore {
    store: Arc<dyn ObjectStore>,
    name: String,
    secrets: Secrets,
}

impl DiscreetStore {
    /// The bucket `store`, which goes by this name, and whose errors may hold these secrets.
    pub fn new(store: Arc<dyn ObjectStore>, name: String, secrets: Secrets) -> Self {
        Self { store, name, secrets }
    }

    fn refused<R>(&self, operation: &str) -> Result<R> {
        Err(Error::NotImplemented { operation: operation.to_owned(), implementer: self.to_string() })
    }

    fn each<R: Send + 'static>(&self, answers: BoxStream<'static, Result<R>>) -> BoxStream<'static, Result<R>> {
        let secrets = self.secrets.clone();
        answers.map_err(move |error| secrets.error(error)).boxed()
    }
}

impl fmt::Display for DiscreetStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

impl fmt::Debug for DiscreetStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl ObjectStore for DiscreetStore {
    async fn put_opts(&self, at: &Path, data: PutPayload, options: PutOptions) -> Result<PutResult> {
        self.store.put_opts(at, data, options).await.map_err(|error| self.secrets.error(error))
    }

    async fn put_multipart_opts(&self, _at: &Path, _options: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        self.refused("put_multipart_opts")
    }

    async fn get_opts(&self, at: &Path, options: GetOptions) -> Result<GetResult> {
        let mut found = self.store.get_opts(at, options).await.map_err(|error| self.secrets.error(error))?;
        found.payload = match found.payload {
            GetResultPayload::Stream(bytes) => GetResultPayload::Stream(self.each(bytes)),
            file => file,
        };
        Ok(found)
    }

    async fn get_ranges(&self, at: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        self.store.get_ranges(at, ranges).await.map_err(|error| self.secrets.error(error))
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        self.each(self.store.delete_stream(locations))
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.each(self.store.list(prefix))
    }

    fn list_with_offset(&self, prefix: Option<&Path>, offset: &Path) -> BoxStream<'static, Result<ObjectMeta>> {
        self.each(self.store.list_with_offset(prefix, offset))
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.store.list_with_delimiter(prefix).await.map_err(|error| self.secrets.error(error))
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.store.copy_opts(from, to, options).await.map_err(|error| self.secrets.error(error))
    }

    async fn rename_opts(&self, _from: &Path, _to: &Path, _options: RenameOptions) -> Result<()> {
        self.refused("rename_opts")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_have_no_secret_in_any_spelling() {
        let secrets = Secrets::new(["wJalr/XUtn+FEMI".to_owned(), "short".to_owned()]);
        let text = "PUT http://host/?sig=wJalr%2FXUtn%2BFEMI failed, as wJalr/XUtn+FEMI is short";
        assert_eq!(secrets.redact(text), "PUT http://host/?sig=[redacted] failed, as [redacted] is short");
        assert_eq!(format!("{secrets:?}"), "2 secrets");
    }

    #[test]
    fn of_a_servers_answer_the_code_and_the_message_stay() {
        let answer = "status code: 400 Bad Request: <?xml version=\"1.0\"?>\n<Error><Code>InvalidToken</Code>\
                      <Message>The provided token is malformed.</Message><Token-0>FwoGZXIvYXdz</Token-0></Error> (end)";
        let expected = "status code: 400 Bad Request: InvalidToken: The provided token is malformed. (end)";
        assert_eq!(Secrets::default().redact(answer), expected);
        assert_eq!(Secrets::default().redact("<Error> <Token>t</Token>"), "");
        assert_eq!(Secrets::default().redact("a < b > c"), "a < b > c");
    }
}
