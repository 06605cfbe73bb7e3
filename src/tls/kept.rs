//! Files that are read again when they change, without anybody noticing but those who connect anew.
//!
//! Their content is compared, and not their times: a secret that is mounted is swapped by a link,
//! two writes can have one time, and a few kilobytes a second are nothing.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use aws_lc_rs::digest;
use tokio::task::JoinHandle;

use super::TlsError;

/// From one look at the files to the next.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Certificate and key are two files, and there is a moment between their changes.
const SETTLE: Duration = Duration::from_millis(200);

/// What can be looked at for changes.
pub trait Reload: Send + Sync {
    /// Whose files they are: `traffic`, `admin`, `service/NAME`.
    fn scope(&self) -> &str;

    /// Reads the files, and takes over what they hold if it is new and in order. Blocks.
    fn look(&self);

    /// Reloads that were taken over, and those that failed.
    fn reloads(&self) -> [u64; 2];
}

/// Looks at all of them that there are now, again and again: each for itself, since its files may be on a disk that
/// hangs.
pub async fn watch(all: impl Fn() -> Vec<Arc<dyn Reload>>) {
    let mut looks: Vec<(Arc<dyn Reload>, JoinHandle<()>)> = Vec::new();
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        looks.retain(|(_, look)| !look.is_finished());
        for one in all() {
            if looks.iter().all(|(other, _)| !Arc::ptr_eq(other, &one)) {
                looks.push((one.clone(), tokio::spawn(look(one))));
            }
        }
    }
}

async fn look(one: Arc<dyn Reload>) {
    let looking = one.clone();
    if tokio::task::spawn_blocking(move || looking.look()).await.is_err() {
        tracing::error!(scope = one.scope(), "looking at the files of TLS panicked");
    }
}

/// Files as they were read at one moment.
pub(super) struct Files(Vec<(PathBuf, Result<Vec<u8>, String>)>);

impl Files {
    pub(super) fn read<'a>(paths: impl Iterator<Item = &'a Path>) -> Self {
        Self(paths.map(|path| (path.to_owned(), std::fs::read(path).map_err(|error| plain(&error)))).collect())
    }

    pub(super) fn get(&self, path: &Path) -> Result<&[u8], TlsError> {
        match self.0.iter().find(|(known, _)| known == path) {
            Some((_, Ok(bytes))) => Ok(bytes),
            Some((_, Err(error))) => Err(TlsError::new(path, format!("cannot be read: {error}"))),
            None => Err(TlsError::new(path, "was not read")),
        }
    }

    /// Of paths and contents.
    pub(super) fn digest(&self) -> Vec<u8> {
        self.digest_of(|_| true)
    }

    /// Of some.
    pub(super) fn digest_of(&self, wanted: impl Fn(&Path) -> bool) -> Vec<u8> {
        let mut context = digest::Context::new(&digest::SHA256);
        for (path, content) in self.0.iter().filter(|(path, _)| wanted(path)) {
            let (mark, bytes) = match content {
                Ok(bytes) => (b"+", bytes.as_slice()),
                Err(error) => (b"-", error.as_bytes()),
            };
            for part in [path.as_os_str().as_encoded_bytes(), mark, &bytes.len().to_le_bytes(), bytes] {
                context.update(part);
            }
        }
        context.finish().as_ref().to_vec()
    }
}

/// An I/O error in the words of the system, without its number.
fn plain(error: &std::io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or(&text).to_owned()
}

/// What was made of files.
pub(super) struct Made<T> {
    /// None where there is nothing new that can be taken.
    pub(super) new: Option<T>,
    /// What is not in order; of that, the new one holds what was there before.
    pub(super) wrong: Vec<TlsError>,
}

/// All of it, or nothing.
impl<T> From<Result<T, TlsError>> for Made<T> {
    fn from(result: Result<T, TlsError>) -> Self {
        match result {
            Ok(new) => Self { new: Some(new), wrong: Vec::new() },
            Err(error) => Self { new: None, wrong: vec![error] },
        }
    }
}

type Build<T> = Box<dyn Fn(&Files, Option<&T>) -> Made<T> + Send + Sync>;

/// What is made of files, kept as it is until they hold something else that is in order.
pub(super) struct Kept<T> {
    scope: String,
    paths: Vec<PathBuf>,
    build: Build<T>,
    current: ArcSwap<T>,
    seen: Mutex<Vec<u8>>,
    taken: AtomicU64,
    failed: AtomicU64,
}

impl<T> Kept<T> {
    /// `build` makes it of the files; it is given what was there before, if there was something. Here
    /// all must be in order: who starts looks at what is said.
    pub(super) fn open(scope: &str, paths: Vec<PathBuf>, build: Build<T>) -> Result<Self, TlsError> {
        let files = Files::read(paths.iter().map(PathBuf::as_path));
        let made = build(&files, None);
        let current = match (made.new, made.wrong.into_iter().next()) {
            (_, Some(error)) => return Err(error),
            (Some(new), None) => ArcSwap::from_pointee(new),
            (None, None) => return Err(TlsError::new(paths.first().map_or(Path::new(""), PathBuf::as_path), "holds nothing")),
        };
        Ok(Self {
            scope: scope.to_owned(),
            paths,
            build,
            current,
            seen: Mutex::new(files.digest()),
            taken: AtomicU64::new(0),
            failed: AtomicU64::new(0),
        })
    }

    pub(super) fn scope(&self) -> &str {
        &self.scope
    }

    pub(super) fn current(&self) -> Arc<T> {
        self.current.load_full()
    }

    pub(super) fn reloads(&self) -> [u64; 2] {
        [self.taken.load(Ordering::Relaxed), self.failed.load(Ordering::Relaxed)]
    }

    /// What is in order is taken, whatever stands beside it. What is not is said once: it is looked at
    /// again when something changes again.
    pub(super) fn look(&self) {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let mut files = self.read();
        if files.digest() == *seen {
            return;
        }
        let mut made = (self.build)(&files, Some(&self.current()));
        if !made.wrong.is_empty() {
            std::thread::sleep(SETTLE);
            files = self.read();
            made = (self.build)(&files, Some(&self.current()));
        }
        *seen = files.digest();
        let Made { new, wrong } = made;
        if let Some(new) = new {
            self.current.store(Arc::new(new));
            self.taken.fetch_add(1, Ordering::Relaxed);
            tracing::info!(scope = self.scope, "certificates are read again");
        }
        if !wrong.is_empty() {
            self.failed.fetch_add(1, Ordering::Relaxed);
        }
        for error in wrong {
            tracing::error!(scope = self.scope, %error, "certificates have changed, and one is not in order; its old one stays");
        }
    }

    fn read(&self) -> Files {
        Files::read(self.paths.iter().map(PathBuf::as_path))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(files: &Files, path: &Path) -> Result<String, TlsError> {
        let text = String::from_utf8_lossy(files.get(path)?).into_owned();
        if text == "wrong" { Err(TlsError::new(path, "is wrong")) } else { Ok(text) }
    }

    #[test]
    fn what_is_not_in_order_changes_nothing_and_is_counted_once() {
        let path = std::env::temp_dir().join(format!("dualgate-kept-{}", std::process::id()));
        std::fs::write(&path, "one").unwrap();
        let at = path.clone();
        let kept =
            Kept::open("x", vec![path.clone()], Box::new(move |files, _: Option<&String>| text(files, &at).into())).unwrap();
        let look = || {
            kept.look();
            (kept.current().to_string(), kept.reloads())
        };
        assert_eq!(look(), ("one".to_owned(), [0, 0]));
        std::fs::write(&path, "two").unwrap();
        assert_eq!(look(), ("two".to_owned(), [1, 0]));
        std::fs::write(&path, "wrong").unwrap();
        assert_eq!(look(), ("two".to_owned(), [1, 1]));
        assert_eq!(look(), ("two".to_owned(), [1, 1]));
        std::fs::remove_file(&path).unwrap();
        assert_eq!(look(), ("two".to_owned(), [1, 2]));
        std::fs::write(&path, "two").unwrap();
        assert_eq!(look(), ("two".to_owned(), [2, 2]));
        std::fs::remove_file(&path).unwrap();
    }

    /// Counts how often it is looked at, and hangs while the lock is held.
    struct Looked(Mutex<()>, AtomicU64);

    impl Reload for Looked {
        fn scope(&self) -> &str {
            "x"
        }

        fn look(&self) {
            let _hangs = self.0.lock().unwrap();
            self.1.fetch_add(1, Ordering::Relaxed);
        }

        fn reloads(&self) -> [u64; 2] {
            [0, 0]
        }
    }

    #[tokio::test]
    async fn a_disk_that_hangs_keeps_no_other_files_from_being_looked_at() {
        let [hangs, well] = [(); 2].map(|()| Arc::new(Looked(Mutex::default(), AtomicU64::new(0))));
        let hanging = hangs.clone();
        let (held, let_go) = (tokio::sync::oneshot::channel(), std::sync::mpsc::channel::<()>());
        let holder = std::thread::spawn(move || {
            let _held = hanging.0.lock().unwrap();
            held.0.send(()).unwrap();
            let _ = let_go.1.recv();
        });
        held.1.await.unwrap();
        let all: Vec<Arc<dyn Reload>> = vec![hangs.clone(), well.clone()];
        let watched = tokio::spawn(watch(move || all.clone()));
        while well.1.load(Ordering::Relaxed) < 2 {
            tokio::time::sleep(SETTLE).await;
        }
        assert_eq!(hangs.1.load(Ordering::Relaxed), 0);
        drop(let_go.0);
        holder.join().unwrap();
        watched.abort();
    }
}
