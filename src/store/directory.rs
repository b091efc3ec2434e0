//! A local directory as an object store that survives a power cut.
//!
//! What always holds: a write that was acknowledged is on disk, with the names of all the folders that lead to it. The
//! directory carries a marker file, so that one of another kind, or of a later version, is refused before anything is
//! written to it.
//!
//! `object_store`'s own store with `fsync` on does most of it: it syncs a new file, the folder it is published in, and
//! the folders it creates on the way. Two things are left, and done here:
//! * folders that another writer, or a process that was killed, created and did not sync yet;
//! * a file whose publication failed half-way, or that another writer has published and not synced yet: whoever finds
//!   it standing (`AlreadyExists`) or goes on to read it must not build on what may still vanish.
//!
//! What it does not do: deletions are not synced (after a power cut a deleted object may be back, which nothing here
//! minds). A plain read does not sync what another process published a moment before; the writer that builds on what
//! was read syncs it along with its own entry, because both lie in one folder.

use std::fmt;
use std::path::{Path as FilePath, PathBuf};
use std::sync::Arc;

use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, PutMultipartOptions,
    PutOptions, PutPayload, PutResult, RenameOptions,
};

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;

use crate::error::{Error, ErrorKind};
use folders::Folders;

mod folders;
mod marker;

pub use folders::SYNCED_FOLDERS_MAX;
pub use marker::{FORMAT_VERSION, MARKER_NAME};

/// A local directory of this library's own kind. Clones share what they know.
#[derive(Clone, Debug)]
pub struct Directory {
    files: LocalFileSystem,
    root: PathBuf,
    folders: Arc<Folders>,
}

impl Directory {
    /// Opens `path`, creating it and its marker if there is nothing yet.
    ///
    /// Nothing is written unless the directory is empty or ours. Blocks for a few file operations.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] for what is no directory, is not empty and not ours, or is of a later version;
    /// [`ErrorKind::Corrupt`] for a marker that cannot be read as one; [`ErrorKind::Unavailable`] where the file system
    /// refuses.
    pub fn open(path: impl AsRef<FilePath>) -> Result<Self, Error> {
        let path = path.as_ref();
        let named = |error: Error| error.of_object(path.display().to_string());
        marker::claim(path).map_err(named)?;
        let root = path.canonicalize().map_err(|error| named(refused("cannot open the data directory", error)))?;
        let files = LocalFileSystem::new_with_prefix(&root)
            .map_err(|error| named(Error::unavailable("cannot open the data directory").because(error)))?
            .with_fsync(true);
        let folders = Arc::new(Folders::below(root.clone()));
        Ok(Self { files, root, folders })
    }

    /// Where it is, without links.
    pub fn root(&self) -> &FilePath {
        &self.root
    }

    /// Makes the folders that lead to `location` durable, once each, after a write to it that ended like this.
    async fn settle<T>(&self, location: &Path, result: object_store::Result<T>) -> object_store::Result<T> {
        let Some(folder) = self.files.path_to_filesystem(location)?.parent().map(FilePath::to_owned) else {
            return result;
        };
        // A success has synced the folder itself, and what it created; a failure may have published and not synced.
        if result.is_ok() && self.folders.is_synced(&folder) {
            return result;
        }
        let folders = Arc::clone(&self.folders);
        let synced = blocking(move || folders.sync_up_from(&folder)).await;
        result.and_then(|value| synced.map(|()| value))
    }

    /// Fails while it is not known that what can be read in the folder of `location` is durable.
    async fn trust(&self, location: &Path) -> object_store::Result<()> {
        if !self.folders.any_doubtful() {
            return Ok(());
        }
        let file = self.files.path_to_filesystem(location)?;
        let Some(folder) = file.parent().filter(|folder| self.folders.is_doubtful(folder)).map(FilePath::to_owned)
        else {
            return Ok(());
        };
        let folders = Arc::clone(&self.folders);
        blocking(move || folders.sync_up_from(&folder)).await
    }
}

/// What the file system did not let us do at open. Mostly the path is to blame, not the disk.
fn refused(doing: &'static str, error: std::io::Error) -> Error {
    use std::io::ErrorKind as Io;
    let kind = match error.kind() {
        Io::NotADirectory | Io::AlreadyExists | Io::InvalidInput | Io::InvalidFilename => ErrorKind::Invalid,
        Io::PermissionDenied | Io::ReadOnlyFilesystem => ErrorKind::Invalid,
        _ => ErrorKind::Unavailable,
    };
    Error::new(kind, format!("{doing}: {error}")).because(error)
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> object_store::Result<T> + Send + 'static,
) -> object_store::Result<T> {
    match tokio::runtime::Handle::try_current() {
        Ok(runtime) => runtime.spawn_blocking(work).await?,
        Err(_) => work(),
    }
}

impl fmt::Display for Directory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Directory({})", self.root.display())
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl ObjectStore for Directory {
    async fn put_opts(&self, at: &Path, data: PutPayload, options: PutOptions) -> object_store::Result<PutResult> {
        let result = self.files.put_opts(at, data, options).await;
        self.settle(at, result).await
    }

    /// The upload syncs its file and its folder when it completes; the folders above are synced here, before it begins.
    async fn put_multipart_opts(
        &self,
        at: &Path,
        options: PutMultipartOptions,
    ) -> object_store::Result<Box<dyn MultipartUpload>> {
        let result = self.files.put_multipart_opts(at, options).await;
        self.settle(at, result).await
    }

    async fn get_opts(&self, at: &Path, options: GetOptions) -> object_store::Result<GetResult> {
        self.trust(at).await?;
        self.files.get_opts(at, options).await
    }

    async fn get_ranges(&self, at: &Path, ranges: &[std::ops::Range<u64>]) -> object_store::Result<Vec<Bytes>> {
        self.trust(at).await?;
        self.files.get_ranges(at, ranges).await
    }

    fn delete_stream(
        &self,
        locations: BoxStream<'static, object_store::Result<Path>>,
    ) -> BoxStream<'static, object_store::Result<Path>> {
        self.files.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, object_store::Result<ObjectMeta>> {
        self.files.list(prefix)
    }

    fn list_with_offset(
        &self,
        prefix: Option<&Path>,
        offset: &Path,
    ) -> BoxStream<'static, object_store::Result<ObjectMeta>> {
        self.files.list_with_offset(prefix, offset)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> object_store::Result<ListResult> {
        self.files.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> object_store::Result<()> {
        let result = self.files.copy_opts(from, to, options).await;
        self.settle(to, result).await
    }

    async fn rename_opts(&self, from: &Path, to: &Path, options: RenameOptions) -> object_store::Result<()> {
        let result = self.files.rename_opts(from, to, options).await;
        self.settle(to, result).await
    }
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;
    use object_store::{ObjectStoreExt, PutMode};

    #[tokio::test]
    async fn what_could_not_be_synced_is_not_read() {
        let temporary = tempfile::tempdir().expect("a temporary directory");
        let store = Directory::open(temporary.path()).expect("ours");
        let at = Path::from("folder/object");
        let folder = store.root().join("folder");
        // A folder that cannot be opened: a link to itself.
        std::os::unix::fs::symlink(&folder, &folder).expect("a link");
        store.put(&at, "1".into()).await.expect_err("no such folder");
        assert!(store.folders.is_doubtful(&folder));
        let error = store.get(&at).await.expect_err("doubtful");
        assert!(!matches!(error, object_store::Error::NotFound { .. }), "{error}");
        std::fs::remove_file(&folder).expect("the link");
        let error = store.get(&at).await.expect_err("nothing there");
        assert!(matches!(error, object_store::Error::NotFound { .. }), "{error}");
        store.put(&at, "1".into()).await.expect("a file");
        store.get(&at).await.expect("the file");
    }

    // Hazard 19: the folders may be another writer's, who has not synced them yet.
    #[tokio::test]
    async fn folders_that_others_created_are_synced_before_a_write_is_acknowledged() {
        let temporary = tempfile::tempdir().expect("a temporary directory");
        let store = Directory::open(temporary.path()).expect("ours");
        let folder = store.root().join("a/b");
        std::fs::create_dir_all(&folder).expect("folders");
        store.put_opts(&Path::from("a/b/1"), "1".into(), PutMode::Create.into()).await.expect("a file");
        assert!(store.folders.is_synced(&folder));
        // What failed is settled too: somebody else's file may be there, and not durable yet.
        let store = Directory::open(temporary.path()).expect("ours");
        assert!(!store.folders.is_synced(&folder));
        store.put_opts(&Path::from("a/b/1"), "1".into(), PutMode::Create.into()).await.expect_err("it exists");
        assert!(store.folders.is_synced(&folder));
    }
}
