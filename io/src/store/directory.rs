//! A local directory as an object store that survives a power cut, and knows when it is not there any more.
//!
//! What always holds: a write that was acknowledged is on disk, with the names of all the folders that lead to it, in
//! the directory that was opened. The directory carries a marker file, so that one of another kind, or of a later
//! version, is refused before anything is written to it.
//!
//! The directory may go away under a running process: unmounted, moved, removed, replaced by an older copy, a link to it
//! switched. So before each write and after each operation it is looked whether the marker is the file it was at open,
//! and the folder the one that was seen first (`identity.rs`, `folders.rs`): two or three `stat`, no I/O. No folder that
//! stood once is made again. While something else is there everything fails; when the directory is back all goes on. A
//! copy that is put into the same files and folders (`rsync`) is not told from the original.
//!
//! To be durable, a new file is synced, the folder it is published in, and the folders made on the way. Two more things
//! are needed:
//! * folders that another writer, or a process that was killed, created and did not sync yet;
//! * a file whose publication failed half-way, or that another writer has published and not synced yet: whoever finds
//!   it standing (`AlreadyExists`) or goes on to read it must not build on what may still vanish.
//!
//! What it does not do: deletions are not synced (after a power cut a deleted object may be back, which nothing here
//! minds). A plain read does not sync what another process published a moment before; the writer that builds on what
//! was read syncs it along with its own entry, because both lie in one folder.

use std::fmt;
use std::io::ErrorKind as Io;
use std::path::{Path as FilePath, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, PutMode,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, RenameOptions, UploadPart,
};

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::{self, BoxStream, StreamExt};

use crate::store::keys;
use folders::Folders;
use identity::Presence;
use marker::refused;
use staged::Sweeps;
use timely_persist_types::error::Error;

mod folders;
mod identity;
mod marker;
mod publish;
mod staged;

pub use folders::{SEEN_FOLDERS_MAX, SYNCED_FOLDERS_MAX};
pub use marker::{FORMAT_VERSION, MARKER_NAME};
pub use staged::{STAGED_AGE_MIN, STAGED_SWEEP_INTERVAL, SWEPT_FOLDERS_MAX};

/// A local directory of this library's own kind. Clones share what they know.
#[derive(Clone, Debug)]
pub struct Directory {
    files: LocalFileSystem,
    root: Arc<FilePath>,
    presence: Arc<Presence>,
    folders: Arc<Folders>,
    sweeps: Arc<Sweeps>,
}

impl Directory {
    /// Opens `path`, creating it and its marker if there is nothing yet.
    ///
    /// Nothing is written unless the directory is empty or ours. Blocks for a few file operations.
    ///
    /// # Errors
    /// `ErrorKind::Invalid` for what is no directory, is not empty and not ours, or has a path that is too long;
    /// `ErrorKind::Newer` for one of a later version; `ErrorKind::Corrupt` for a marker that cannot be read as one;
    /// `ErrorKind::Unavailable` where the file system refuses.
    pub fn open(path: impl AsRef<FilePath>) -> Result<Self, Error> {
        let path = path.as_ref();
        Self::open_at(path).map_err(|error| error.of_object(path.display().to_string()))
    }

    fn open_at(path: &FilePath) -> Result<Self, Error> {
        let cannot_open = |error| refused("cannot open the data directory", error);
        let asked = std::path::absolute(path).map_err(|error| refused("cannot name the data directory", error))?;
        check_length(&asked)?;
        marker::claim(&asked)?;
        let root = asked.canonicalize().map_err(cannot_open)?;
        check_length(&root)?;
        let files = LocalFileSystem::new_with_prefix(&root)
            .map_err(|error| Error::unavailable("cannot open the data directory").because(error))?
            .with_fsync(true);
        let presence = Arc::new(Presence::of(&root, &asked).map_err(cannot_open)?);
        let folders = Arc::new(Folders::below(root.clone()));
        Ok(Self { files, root: root.into(), presence, folders, sweeps: Arc::default() })
    }

    /// Where it is, without links.
    pub fn root(&self) -> &FilePath {
        &self.root
    }

    /// Where an object, or a folder of objects, has its file or folder.
    fn place(&self, location: &Path) -> PathBuf {
        self.root.join(location.as_ref())
    }

    /// The folder of an object.
    fn folder(&self, location: &Path) -> PathBuf {
        self.place(location).parent().map_or_else(|| self.root.to_path_buf(), FilePath::to_owned)
    }

    /// Fails while the directory, or this folder of it, is not what it was.
    fn look(&self, folder: &FilePath) -> object_store::Result<()> {
        self.presence.look()?;
        self.folders.look(folder)?;
        Ok(())
    }

    /// An answer about what is in `folder`, if it came from the directory that was opened.
    fn believe<T>(&self, folder: &FilePath, answer: object_store::Result<T>) -> object_store::Result<T> {
        self.look(folder)?;
        answer
    }

    /// Makes the folder ready to be written to, if nobody did.
    fn prepare(&self, folder: &FilePath) -> object_store::Result<()> {
        self.look(folder)?;
        self.folders.make(folder)
    }

    /// Makes the folders up to this one durable, once each, after a write into it that ended like this; and acknowledges
    /// none that went elsewhere.
    fn settle<T>(&self, folder: &FilePath, result: object_store::Result<T>) -> object_store::Result<T> {
        // A success has synced the folder itself; a failure may have published and not synced.
        let synced = match result.is_ok() && self.folders.is_synced(folder) {
            true => Ok(()),
            false => self.folders.sync_up_from(folder),
        };
        self.look(folder)?;
        result.and_then(|value| synced.map(|()| value))
    }

    /// Does `write`, which writes into the folder of `at` and makes none.
    async fn within<T, F>(&self, at: &Path, write: F) -> object_store::Result<T>
    where
        T: Send + 'static,
        F: Future<Output = object_store::Result<T>>,
    {
        let (directory, folder) = (self.clone(), self.folder(at));
        blocking(move || directory.prepare(&folder)).await?;
        let result = write.await;
        let (directory, folder) = (self.clone(), self.folder(at));
        blocking(move || directory.settle(&folder, result)).await
    }

    fn write(&self, file: &FilePath, data: &PutPayload, mode: &PutMode) -> object_store::Result<PutResult> {
        let folder = file.parent().unwrap_or(&self.root);
        self.prepare(folder)?;
        let published = publish::publish(file, data, mode).map_err(|error| match error.kind() {
            Io::AlreadyExists => {
                object_store::Error::AlreadyExists { path: file.display().to_string(), source: error.into() }
            }
            Io::InvalidFilename => object_store::Error::NotSupported { source: error.into() }, // it is too long
            // Also where its folder is not found: that is no answer about the object.
            _ => object_store::Error::Generic { store: "Directory", source: error.into() },
        });
        let written = self.settle(folder, published)?;
        if let Some(now) = written.filter(|_| self.sweeps.is_due(folder)) {
            self.sweep(folder.to_owned(), now);
        }
        Ok(PutResult { e_tag: None, version: None, extensions: Default::default() })
    }

    /// Removes what kills left around `folder`, beside the write that was made at `now`: it need not wait for that.
    fn sweep(&self, folder: PathBuf, now: SystemTime) {
        let root = Arc::clone(&self.root);
        let sweep = move || staged::sweep(&root, &folder, now);
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            drop(runtime.spawn_blocking(sweep)); // it ends by itself, and interrupted it does no harm
        } else {
            sweep();
        }
    }

    /// Fails while it is not known that what can be read in `folder` is durable.
    async fn trust(&self, folder: &FilePath) -> object_store::Result<()> {
        if !self.folders.any_doubtful() || !self.folders.is_doubtful(folder) {
            return Ok(());
        }
        self.look(folder)?; // what is not there leaves the doubt about what was
        let (folders, folder) = (Arc::clone(&self.folders), folder.to_owned());
        blocking(move || folders.sync_up_from(&folder)).await
    }

    /// A listing of `prefix`, which ends in an error if it was not of the directory that was opened.
    fn believed(
        &self,
        prefix: Option<&Path>,
        listing: BoxStream<'static, object_store::Result<ObjectMeta>>,
    ) -> BoxStream<'static, object_store::Result<ObjectMeta>> {
        let (directory, folder) = (self.clone(), self.place(prefix.unwrap_or(&Path::default())));
        let end = stream::once(async move { directory.look(&folder) });
        listing.chain(end.filter_map(async |looked| looked.err().map(Err))).boxed()
    }
}

/// Refuses a path that leaves no room for the names of objects: none of them could be written.
fn check_length(path: &FilePath) -> Result<(), Error> {
    let longest = path.join(keys::longest().as_ref());
    // A name of what is to be made may be too long by itself, which the folder says that is there.
    let there = path.ancestors().find(|above| above.is_dir()).unwrap_or(path);
    let new = path.strip_prefix(there).unwrap_or(path).iter().map(|name| there.join(name));
    for place in std::iter::once(longest.clone()).chain(new) {
        if let Err(error) = std::fs::symlink_metadata(&place)
            && error.kind() == Io::InvalidFilename
        {
            let bytes = longest.as_os_str().len();
            let message = format!(
                "this path is too long for the system ({bytes} bytes, with the names of the files in it): {error}"
            );
            return Err(Error::invalid(message).because(error));
        }
    }
    Ok(())
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
        if matches!(options.mode, PutMode::Update(_)) || !options.attributes.is_empty() {
            return self.files.put_opts(at, data, options).await; // which says that there is no such thing here
        }
        let (directory, file) = (self.clone(), self.files.path_to_filesystem(at)?);
        blocking(move || directory.write(&file, &data, &options.mode)).await
    }

    /// The upload syncs its file and its folder when it completes.
    async fn put_multipart_opts(
        &self,
        at: &Path,
        options: PutMultipartOptions,
    ) -> object_store::Result<Box<dyn MultipartUpload>> {
        let upload = self.within(at, self.files.put_multipart_opts(at, options)).await?;
        Ok(Box::new(Upload { upload, directory: self.clone(), at: at.clone() }))
    }

    async fn get_opts(&self, at: &Path, options: GetOptions) -> object_store::Result<GetResult> {
        let folder = self.folder(at);
        self.trust(&folder).await?;
        self.believe(&folder, self.files.get_opts(at, options).await)
    }

    async fn get_ranges(&self, at: &Path, ranges: &[std::ops::Range<u64>]) -> object_store::Result<Vec<Bytes>> {
        let folder = self.folder(at);
        self.trust(&folder).await?;
        self.believe(&folder, self.files.get_ranges(at, ranges).await)
    }

    /// Looks before each deletion too: a copy that was put in the place of the directory may need what this one does
    /// not. Looks after it, because "not found" elsewhere does not mean that it is gone.
    fn delete_stream(
        &self,
        locations: BoxStream<'static, object_store::Result<Path>>,
    ) -> BoxStream<'static, object_store::Result<Path>> {
        let (before, after) = (self.clone(), self.clone());
        let locations = locations.map(move |location| {
            let location = location?;
            before.look(&before.folder(&location)).map(|()| location)
        });
        let deleted = self.files.delete_stream(locations.boxed());
        deleted.map(move |deleted| after.presence.look().map_err(object_store::Error::from).and(deleted)).boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, object_store::Result<ObjectMeta>> {
        self.believed(prefix, self.files.list(prefix))
    }

    fn list_with_offset(
        &self,
        prefix: Option<&Path>,
        offset: &Path,
    ) -> BoxStream<'static, object_store::Result<ObjectMeta>> {
        self.believed(prefix, self.files.list_with_offset(prefix, offset))
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> object_store::Result<ListResult> {
        let listed = self.files.list_with_delimiter(prefix).await;
        self.believe(&self.place(prefix.unwrap_or(&Path::default())), listed)
    }

    /// The copy shares its bytes with the object, which were synced when that was written: its name is what is to be synced.
    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> object_store::Result<()> {
        self.trust(&self.folder(from)).await?;
        let copy = async {
            self.files.copy_opts(from, to, options).await?;
            let folder = self.folder(to);
            let synced = blocking(move || {
                publish::sync_folder(&folder)
                    .map_err(|error| object_store::Error::Generic { store: "Directory", source: error.into() })
            });
            synced.await
        };
        self.within(to, copy).await
    }

    async fn rename_opts(&self, from: &Path, to: &Path, options: RenameOptions) -> object_store::Result<()> {
        self.within(to, self.files.rename_opts(from, to, options)).await
    }
}

/// An upload that is acknowledged only where it is in the directory that was opened.
#[derive(Debug)]
struct Upload {
    upload: Box<dyn MultipartUpload>,
    directory: Directory,
    at: Path,
}

#[async_trait]
impl MultipartUpload for Upload {
    fn put_part(&mut self, data: PutPayload) -> UploadPart {
        self.upload.put_part(data)
    }

    async fn complete(&mut self) -> object_store::Result<PutResult> {
        self.directory.within(&self.at, self.upload.complete()).await
    }

    async fn abort(&mut self) -> object_store::Result<()> {
        self.upload.abort().await
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
