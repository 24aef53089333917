//! An S3 server on a loopback port, for tests: s3s-fs over a folder, in front of it a gate that
//! lets one conditional PUT through at a time (s3s-fs by itself lets several writers create the
//! same key), and faults as networks and stores have them.
//!
//! The first line on stdout is the URL. The server ends when its stdin does, so it never outlives
//! the test that started it, and then says how many faults it made.

mod faults;

use std::convert::Infallible;
use std::error::Error;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use clap::Parser;
use faults::{Fault, Faults};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt as _, Full};
use hyper::body::{Frame, Incoming};
use hyper::header::{CONTENT_LENGTH, CONTENT_RANGE, IF_NONE_MATCH};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use s3s::auth::SimpleAuth;
use s3s::service::{S3Service, S3ServiceBuilder};
use s3s_fs::FileSystem;
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpListener;
use tokio::sync::Mutex;
use tokio::time::Sleep;

type AnyError = Box<dyn Error + Send + Sync>;
type Body = BoxBody<Bytes, AnyError>;

#[derive(Debug, Parser)]
struct Options {
    /// The folder: its folders are the buckets.
    folder: PathBuf,
    /// The only access key.
    #[arg(long, default_value = "tester")]
    access_key: String,
    /// Its secret.
    #[arg(long, default_value = "a-secret-for-tests")]
    secret_key: String,
    /// Lets conditional PUTs through as they come, several at a time.
    #[arg(long)]
    no_gate: bool,
    /// Of a thousand requests, how many go wrong.
    #[arg(long, default_value_t = 0)]
    faults_per_thousand: u32,
    /// Where the random schedule of faults begins.
    #[arg(long, default_value_t = 0)]
    seed: u64,
}

struct Server {
    service: S3Service,
    gate: Option<Mutex<()>>,
    faults: Faults,
}

#[tokio::main]
async fn main() -> Result<(), AnyError> {
    let options = Options::parse();
    let files = FileSystem::new(&options.folder).map_err(|error| format!("{error:?}"))?;
    let mut builder = S3ServiceBuilder::new(files);
    builder.set_auth(SimpleAuth::from_single(options.access_key, options.secret_key));
    let server = Arc::new(Server {
        service: builder.build(),
        gate: (!options.no_gate).then(Mutex::default),
        faults: Faults::new(options.seed, options.faults_per_thousand),
    });
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    println!("http://{}", listener.local_addr()?);
    let mut stdin = tokio::io::stdin();
    let mut ignored = [0; 64];
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let (socket, _) = accepted?;
                let server = Arc::clone(&server);
                let answer = service_fn(move |request| Arc::clone(&server).answer(request));
                let connection = hyper::server::conn::http1::Builder::new()
                    .serve_connection(TokioIo::new(socket), answer);
                // A connection that breaks is part of the test.
                tokio::spawn(async move { drop(connection.await) });
            }
            read = stdin.read(&mut ignored) => if read? == 0 {
                println!("{}", server.faults.made());
                return Ok(());
            },
        }
    }
}

impl Server {
    async fn answer(
        self: Arc<Self>,
        request: Request<Incoming>,
    ) -> Result<Response<Body>, AnyError> {
        let is_get = request.method() == Method::GET;
        match self.faults.next(request.method()) {
            None => self.serve(request).await,
            Some(Fault::Throttled) => Ok(refusal(StatusCode::SERVICE_UNAVAILABLE, "SlowDown")),
            Some(Fault::RequestDropped) => Err("the request is dropped".into()),
            Some(Fault::Delayed(time)) => {
                tokio::time::sleep(time).await;
                self.serve(request).await
            }
            Some(Fault::AnswerLost) => {
                self.serve(request).await?;
                Ok(refusal(StatusCode::INTERNAL_SERVER_ERROR, "InternalError"))
            }
            Some(Fault::AnswerDropped) => {
                self.serve(request).await?;
                Err("the answer is dropped".into())
            }
            Some(Fault::BodyCut) if is_get => cut(self.serve(request).await?, Promise::Kept).await,
            Some(Fault::BodyShort) if is_get => cut(self.serve(request).await?, Promise::Cut).await,
            Some(Fault::BodyCut | Fault::BodyShort) => self.serve(request).await,
        }
    }

    async fn serve(&self, request: Request<Incoming>) -> Result<Response<Body>, AnyError> {
        let creates =
            request.method() == Method::PUT && request.headers().contains_key(IF_NONE_MATCH);
        let _turn = match &self.gate {
            Some(gate) if creates => Some(gate.lock().await),
            _ => None,
        };
        let served = hyper::service::Service::call(&self.service, request).await;
        let response = served.map_err(|error| format!("{error:?}"))?;
        Ok(response.map(|body| body.map_err(AnyError::from).boxed()))
    }
}

fn refusal(status: StatusCode, code: &str) -> Response<Body> {
    let text = format!("<?xml version=\"1.0\"?><Error><Code>{code}</Code></Error>");
    let body = Full::new(Bytes::from(text)).map_err(|never: Infallible| match never {});
    let mut response = Response::new(body.boxed());
    *response.status_mut() = status;
    response
}

/// Whether the header goes on promising the whole body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Promise {
    Kept,
    Cut,
}

/// The first half of a body. Where the promise is kept, the connection breaks behind it.
async fn cut(response: Response<Body>, promise: Promise) -> Result<Response<Body>, AnyError> {
    let (mut head, body) = response.into_parts();
    let whole = body.collect().await?.to_bytes();
    if whole.is_empty() || !head.status.is_success() {
        let body = Full::new(whole).map_err(|never: Infallible| match never {}).boxed();
        return Ok(Response::from_parts(head, body));
    }
    let half = whole.slice(..whole.len() / 2);
    // Without a range, a length that lies cannot be told from that of a shorter object.
    let lies = promise == Promise::Cut && head.headers.contains_key(CONTENT_RANGE);
    let promised = if lies { half.len() } else { whole.len() };
    head.headers.insert(CONTENT_LENGTH, promised.into());
    let body = if lies {
        Full::new(half).map_err(|never: Infallible| match never {}).boxed()
    } else {
        Breaking { data: Some(half), pause: Box::pin(tokio::time::sleep(FLUSH)) }.boxed()
    };
    Ok(Response::from_parts(head, body))
}

/// What was sent of a body has this long to leave before its connection breaks.
const FLUSH: Duration = Duration::from_millis(20);

/// A body that ends with an error, at which the connection is closed; a client of one that merely
/// ends too early waits for the rest until its time is up.
struct Breaking {
    data: Option<Bytes>,
    pause: Pin<Box<Sleep>>,
}

impl hyper::body::Body for Breaking {
    type Data = Bytes;
    type Error = AnyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, AnyError>>> {
        if let Some(data) = self.data.take() {
            return Poll::Ready(Some(Ok(Frame::data(data))));
        }
        self.pause.as_mut().poll(context).map(|()| Some(Err("the body is cut".into())))
    }
}
