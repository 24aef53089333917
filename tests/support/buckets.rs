//! Workspaces whose lakes lie on an S3 server: each is a bucket of its own, so what the program
//! asks for over S3 lies in the workspace's folder, as on a disk.

use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::s3::S3;
use super::workspace::Workspace;

/// A server, and the folder that its buckets are in.
pub struct Buckets {
    server: S3,
    folder: tempfile::TempDir,
    made: AtomicUsize,
}

impl Buckets {
    pub fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        Self { server: S3::start(folder.path(), &[]), folder, made: AtomicUsize::new(0) }
    }

    /// A workspace with `configuration`, its lake in a bucket.
    pub fn workspace(&self, configuration: &str) -> Workspace {
        let workspace = Workspace::within(self.new_folder());
        self.configure(&workspace, configuration);
        workspace
    }

    /// What is in `workspace`, its lake included, with the lake in a bucket. The tables of a lake
    /// are the same files here and there.
    pub fn copy(&self, workspace: &Workspace) -> Workspace {
        let copy = workspace.copy_to(self.new_folder());
        // Under such a name a disk keeps what is not yet written whole; a store shows no such thing.
        let unfinished = Command::new("find")
            .args([copy.path(""), "-name".into(), "*#*".into(), "-delete".into()])
            .status();
        assert!(unfinished.unwrap().success());
        let written = std::fs::read_to_string(copy.path("sessionlake.toml")).unwrap();
        self.configure(&copy, &written);
        copy
    }

    fn configure(&self, workspace: &Workspace, configuration: &str) {
        let folder = workspace.path("");
        let bucket = folder.file_name().and_then(|name| name.to_str()).unwrap();
        let lake = self.server.lake_in(bucket, "lake", "");
        workspace.configure(&format!("{lake}{configuration}"));
    }

    fn new_folder(&self) -> tempfile::TempDir {
        let name = format!("bucket-{}", self.made.fetch_add(1, Ordering::Relaxed));
        let mut builder = tempfile::Builder::new();
        builder.prefix(&name).rand_bytes(0).tempdir_in(self.folder.path()).unwrap()
    }
}
