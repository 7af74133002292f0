//! A puppet that speaks the second muxado protocol by the crate `muxado`; the same program as the
//! ones in Go, whose package `puppet` says how it is moved.
//!
//! The crate does not tell a stream's id, so the puppet counts: its handles are its own. Its `Stream`
//! has no close; what closes it is to drop it.

mod session;
mod verbs;

use std::{collections::HashMap, env, sync::Arc};

use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt, BufReader, ReadHalf, WriteHalf},
    net::{TcpListener, TcpStream},
    sync::Mutex,
};

use session::{AnyStream, Session};

/// A stream that a test has touched: each direction has one user at a time.
pub struct Halves {
    pub reader: Mutex<ReadHalf<AnyStream>>,
    pub writer: Mutex<WriteHalf<AnyStream>>,
}

/// The session and the streams a test has touched.
pub struct Puppet {
    pub session: Session,
    streams: Mutex<(u32, HashMap<u32, Arc<Halves>>)>,
}

impl Puppet {
    pub async fn keep(&self, stream: AnyStream) -> Value {
        let kind = stream.kind();
        let (reader, writer) = tokio::io::split(stream);
        let halves = Halves {
            reader: Mutex::new(reader),
            writer: Mutex::new(writer),
        };
        let mut streams = self.streams.lock().await;
        streams.0 += 1;
        let handle = streams.0;
        streams.1.insert(handle, Arc::new(halves));
        match kind {
            None => json!({"stream": handle}),
            Some(kind) => json!({"stream": handle, "type": kind}),
        }
    }

    pub async fn stream(&self, command: &Value) -> Arc<Halves> {
        let streams = self.streams.lock().await;
        Arc::clone(&streams.1[&(command["stream"].as_u64().expect("stream") as u32)])
    }

    pub async fn forget(&self, command: &Value) {
        let handle = command["stream"].as_u64().expect("stream") as u32;
        self.streams.lock().await.1.remove(&handle);
    }
}

fn say(fact: &Value) {
    println!("{fact}"); // a line at a time, see std::io::Stdout
}

/// The value of a flag given as `-name value`.
pub fn flag(name: &str) -> Option<String> {
    env::args().skip_while(|word| word != name).nth(1)
}

async fn dial() -> std::io::Result<TcpStream> {
    if let Some(address) = flag("-connect") {
        let transport = TcpStream::connect(address).await?;
        say(&json!({"connected": transport.local_addr()?.to_string()}));
        return Ok(transport);
    }
    let listener = TcpListener::bind(flag("-listen").expect("-listen or -connect")).await?;
    say(&json!({"listening": listener.local_addr()?.to_string()}));
    Ok(listener.accept().await?.0)
}

#[tokio::main]
async fn main() -> std::io::Result<()> {
    let session = Session::start(dial().await?).await?;
    let puppet = Arc::new(Puppet {
        session,
        streams: Mutex::default(),
    });
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    while let Some(line) = lines.next_line().await? {
        let command: Value = serde_json::from_str(&line)?;
        let puppet = Arc::clone(&puppet);
        tokio::spawn(async move {
            let mut fact = verbs::obey(&puppet, &command).await;
            fact["id"] = command["id"].clone();
            say(&fact);
        });
    }
    std::process::exit(0) // commands may be blocked still
}
