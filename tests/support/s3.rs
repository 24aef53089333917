//! S3 servers on loopback ports: `tests/s3` (s3s over a folder, with a gate and with faults), and a
//! real MinIO where there is one. Each is stopped by its own handle.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

pub const ACCESS_KEY: &str = "tester";
pub const SECRET_KEY: &str = "a-secret-for-tests";
pub const BUCKET: &str = "lake-bucket";

/// A server; it ends with this value.
pub struct S3 {
    pub endpoint: String,
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: Option<BufReader<ChildStdout>>,
}

impl S3 {
    /// The server of `tests/s3` over `folder`, with one empty bucket.
    pub fn start(folder: &Path, options: &[&str]) -> Self {
        fs::create_dir_all(folder.join(BUCKET)).unwrap();
        let mut child = Command::new(server())
            .arg(folder)
            .args(["--access-key", ACCESS_KEY, "--secret-key", SECRET_KEY])
            .args(options)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let mut endpoint = String::new();
        stdout.read_line(&mut endpoint).unwrap();
        let stdin = child.stdin.take();
        Self { endpoint: endpoint.trim().to_owned(), child, stdin, stdout: Some(stdout) }
    }

    /// A MinIO over `folder`, or `None` when there is no such program here.
    pub fn start_minio(folder: &Path) -> Option<Self> {
        Self::start_minio_in("", folder)
    }

    /// As [`S3::start_minio`], in a region; `""` is any.
    pub fn start_minio_in(region: &str, folder: &Path) -> Option<Self> {
        let program = minio()?;
        fs::create_dir_all(folder.join(BUCKET)).unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let child = Command::new(program)
            .args(["server", "--quiet", "--address", &format!("127.0.0.1:{port}")])
            .arg(folder)
            .env("MINIO_ROOT_USER", ACCESS_KEY)
            .env("MINIO_ROOT_PASSWORD", SECRET_KEY)
            .env("MINIO_REGION", region)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let endpoint = format!("http://127.0.0.1:{port}");
        let server = Self { endpoint, child, stdin: None, stdout: None };
        for _ in 0..300 {
            if is_ready(port) {
                return Some(server);
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        panic!("MinIO did not get ready on {}", server.endpoint);
    }

    /// `[lake]` of a configuration: a lake below `prefix` in the bucket.
    pub fn lake(&self, prefix: &str, storage: &str) -> String {
        self.lake_in(BUCKET, prefix, storage)
    }

    /// As [`S3::lake`], in another bucket.
    pub fn lake_in(&self, bucket: &str, prefix: &str, storage: &str) -> String {
        format!(
            "[lake]\nurl = \"s3://{bucket}/{prefix}\"\n[lake.storage]\nendpoint = \"{}\"\n\
             region = \"us-east-1\"\naccess_key_id = \"{ACCESS_KEY}\"\n\
             secret_access_key = \"{SECRET_KEY}\"\nallow_http = true\npath_style = true\n{storage}\n",
            self.endpoint
        )
    }

    /// Ends the server of `tests/s3`, and says which faults it made.
    pub fn stop(mut self) -> String {
        drop(self.stdin.take());
        let mut faults = String::new();
        self.stdout.take().unwrap().read_to_string(&mut faults).unwrap();
        self.child.wait().unwrap();
        faults.trim().to_owned()
    }
}

impl Drop for S3 {
    fn drop(&mut self) {
        // It has ended already, or is ended here; in either case nothing of it stays.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// The server of `tests/s3`, built with the first test that needs it into the target folder that
/// this test was built into.
fn server() -> &'static Path {
    static SERVER: OnceLock<PathBuf> = OnceLock::new();
    SERVER.get_or_init(|| {
        let test = std::env::current_exe().unwrap();
        let target = test.ancestors().nth(3).unwrap();
        let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/s3/Cargo.toml");
        let built = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
            .args(["build", "--quiet", "--release", "--locked", "--manifest-path"])
            .arg(manifest)
            .env("CARGO_TARGET_DIR", target)
            .status()
            .unwrap();
        assert!(built.success(), "cannot build tests/s3");
        target.join("release/s3-server")
    })
}

/// `SESSIONLAKE_MINIO`, or `minio` on the path.
fn minio() -> Option<PathBuf> {
    if let Some(named) = std::env::var_os("SESSIONLAKE_MINIO") {
        return Some(named.into());
    }
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join("minio")).find(|file| file.is_file())
}

fn is_ready(port: u16) -> bool {
    let Ok(mut stream) = TcpStream::connect(("127.0.0.1", port)) else { return false };
    let request =
        "GET /minio/health/ready HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    let mut answer = String::new();
    stream.write_all(request.as_bytes()).is_ok()
        && stream.read_to_string(&mut answer).is_ok()
        && answer.starts_with("HTTP/1.1 200")
}
