//! The commands: those of the Go puppets that the crate has methods for, with the same answers.

use std::{error::Error as _, io, sync::Arc};

use muxado::Error;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWriteExt},
    sync::Semaphore,
    task::JoinSet,
};

use crate::{Puppet, session::AnyStream};

/// Run one command and say what came of it.
pub async fn obey(puppet: &Arc<Puppet>, command: &Value) -> Value {
    match command["do"].as_str().expect("do") {
        "open" => open(puppet, command).await,
        "accept" => accept(puppet).await,
        "write" => write(puppet, command).await,
        "read" => read(puppet, command).await,
        "close_write" => {
            let halves = puppet.stream(command).await;
            let done = halves.writer.lock().await.shutdown().await;
            failure(json!({}), done)
        }
        "close" => {
            puppet.forget(command).await;
            json!({})
        }
        "serve_echo" => serve_echo(puppet).await,
        "call_echo" => call_echo(puppet, command).await,
        "close_session" => failure(
            json!({}),
            puppet.session.close().await.map_err(io::Error::other),
        ),
        unknown => panic!("unknown command: {unknown}"),
    }
}

/// Add what an error says, and muxado's code if it has one. The end of a stream is no error here.
fn failure<T>(mut fact: Value, result: io::Result<T>) -> Value {
    if let Err(error) = result {
        let cause = error.get_ref().map(|inner| inner as &dyn std::error::Error);
        let cause = cause
            .or_else(|| error.source())
            .and_then(|it| it.downcast_ref::<Error>());
        if let Some(code) = cause {
            fact["code"] = json!(*code as u32);
        }
        fact["error"] = json!(error.to_string());
    }
    fact
}

fn size(command: &Value, name: &str) -> usize {
    command[name].as_u64().unwrap_or(0) as usize
}

fn random_bytes(count: usize) -> Vec<u8> {
    let mut data = vec![0; count];
    getrandom::fill(&mut data).expect("randomness");
    data
}

fn hex(sum: Sha256) -> String {
    sum.finalize()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

async fn open(puppet: &Puppet, command: &Value) -> Value {
    match puppet
        .session
        .open(command["type"].as_u64().map(|kind| kind as u32))
        .await
    {
        Ok(stream) => puppet.keep(stream).await,
        Err(error) => failure::<()>(json!({}), Err(io::Error::other(error))),
    }
}

async fn accept(puppet: &Puppet) -> Value {
    match puppet.session.accept().await {
        Ok(stream) => puppet.keep(stream).await,
        Err(error) => failure::<()>(json!({}), Err(io::Error::other(error))),
    }
}

async fn write(puppet: &Puppet, command: &Value) -> Value {
    let text = command["text"].as_str().unwrap_or("").as_bytes();
    let random = size(command, "size");
    let total = if random > 0 { random } else { text.len() };
    let chunk = if size(command, "chunk") > 0 {
        size(command, "chunk")
    } else {
        total
    };
    let halves = puppet.stream(command).await;
    let mut writer = halves.writer.lock().await;
    let (mut sum, mut written, mut result) = (Sha256::new(), 0, Ok(()));
    while written < total && result.is_ok() {
        let data = if random > 0 {
            random_bytes(chunk.min(total - written))
        } else {
            text.to_vec()
        };
        let mut rest = &data[..];
        while !rest.is_empty() && result.is_ok() {
            match writer.write(rest).await {
                Ok(count) => {
                    sum.update(&rest[..count]);
                    written += count;
                    rest = &rest[count..];
                }
                Err(error) => result = Err(error),
            }
        }
    }
    failure(json!({"bytes": written, "sha256": hex(sum)}), result)
}

async fn read(puppet: &Puppet, command: &Value) -> Value {
    let wanted = size(command, "size");
    let halves = puppet.stream(command).await;
    let mut reader = halves.reader.lock().await;
    let (mut sum, mut start, mut count, mut end) = (Sha256::new(), Vec::new(), 0, false);
    let mut buffer = vec![0; 64 * 1024];
    let mut result = Ok(());
    while !end && result.is_ok() && (wanted == 0 || count < wanted) {
        let most = if wanted == 0 {
            buffer.len()
        } else {
            buffer.len().min(wanted - count)
        };
        match reader.read(&mut buffer[..most]).await {
            Ok(0) => end = true,
            Ok(got) => {
                sum.update(&buffer[..got]);
                start.extend(&buffer[..got.min(256 - start.len().min(256))]);
                count += got;
            }
            Err(error) => result = Err(error),
        }
    }
    let mut fact = json!({"bytes": count, "sha256": hex(sum)});
    if count <= 256 {
        fact["text"] = json!(String::from_utf8_lossy(&start));
    }
    if end {
        fact["error"] = json!("EOF");
    }
    failure(fact, result)
}

async fn serve_echo(puppet: &Puppet) -> Value {
    let mut streams = JoinSet::new();
    let mut served = 0;
    let error = loop {
        match puppet.session.accept().await {
            Ok(stream) => {
                served += 1;
                streams.spawn(echo(stream));
            }
            Err(error) => break error,
        }
    };
    streams.join_all().await;
    failure::<()>(json!({"served": served}), Err(io::Error::other(error)))
}

async fn echo(stream: AnyStream) {
    let (mut reader, mut writer) = tokio::io::split(stream);
    let _ = tokio::io::copy(&mut reader, &mut writer).await;
    let _ = writer.shutdown().await;
}

async fn call_echo(puppet: &Arc<Puppet>, command: &Value) -> Value {
    let (count, finish) = (
        size(command, "count"),
        command["finish"].as_bool().unwrap_or(false),
    );
    let at_once = if size(command, "at_once") > 0 {
        size(command, "at_once")
    } else {
        count
    };
    let (places, size) = (Arc::new(Semaphore::new(at_once)), size(command, "size"));
    let mut calls = JoinSet::new();
    for _ in 0..count {
        let place = Arc::clone(&places)
            .acquire_owned()
            .await
            .expect("never closed");
        let puppet = Arc::clone(puppet);
        calls.spawn(async move {
            let _place = place;
            call_echo_once(&puppet, random_bytes(size), finish).await
        });
    }
    let (mut equal, mut last) = (0, Ok(()));
    for result in calls.join_all().await {
        match result {
            Ok(()) => equal += 1,
            Err(error) => last = Err(error),
        }
    }
    failure(json!({"equal": equal}), last)
}

async fn call_echo_once(puppet: &Puppet, question: Vec<u8>, finish: bool) -> io::Result<()> {
    let stream = puppet.session.open(None).await.map_err(io::Error::other)?;
    let (mut reader, mut writer) = tokio::io::split(stream);
    let ask = async {
        writer.write_all(&question).await?;
        if finish {
            writer.shutdown().await
        } else {
            Ok(())
        }
    };
    let (asked, answer) = tokio::join!(ask, hear(&mut reader, question.len(), finish));
    asked?;
    if answer? == question {
        Ok(())
    } else {
        Err(io::Error::other("the echo differs"))
    }
}

async fn hear(
    reader: &mut (impl AsyncRead + Unpin),
    size: usize,
    finish: bool,
) -> io::Result<Vec<u8>> {
    let mut answer = vec![0; size];
    reader.read_exact(&mut answer).await?;
    if finish {
        reader.read_to_end(&mut answer).await?;
    }
    Ok(answer)
}
