//! The crate's session with and without stream types, as one.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use muxado::{
    Accept, Error, MuxadoAccept, MuxadoOpen, OpenClose, Session as _, SessionBuilder, Stream,
    heartbeat::{Heartbeat, HeartbeatConfig, HeartbeatCtl},
    typed::{StreamType, Typed, TypedAccept, TypedOpenClose, TypedSession, TypedStream},
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    sync::Mutex,
};

use crate::flag;

enum Opener {
    Plain(MuxadoOpen),
    Typed(
        Heartbeat<Typed<MuxadoOpen>>,
        #[allow(dead_code)] HeartbeatCtl,
    ),
}

enum Accepter {
    Plain(MuxadoAccept),
    Typed(Heartbeat<Typed<MuxadoAccept>>),
}

/// A session of the crate; `-typed` wraps it with types and heartbeats.
pub struct Session {
    opener: Mutex<Opener>,
    accepter: Mutex<Accepter>,
}

impl Session {
    /// Begin one with the settings in the flags.
    pub async fn start(transport: TcpStream) -> io::Result<Self> {
        let mut builder = SessionBuilder::new(transport);
        builder = if flag("-listen").is_some() {
            builder.server()
        } else {
            builder.client()
        };
        for (name, set) in [
            (
                "-backlog",
                SessionBuilder::accept_queue_size as fn(_, _) -> _,
            ),
            ("-window", SessionBuilder::window_size),
            ("-streams", SessionBuilder::stream_limit),
        ] {
            if let Some(value) = flag(name) {
                builder = set(builder, value.parse().expect("a number"));
            }
        }
        let session = builder.start();
        let (opener, accepter) = match flag("-typed") {
            None => {
                let (opener, accepter) = session.split();
                (Opener::Plain(opener), Accepter::Plain(accepter))
            }
            Some(milliseconds) => {
                let interval = Duration::from_millis(milliseconds.parse().expect("milliseconds"));
                let config = HeartbeatConfig {
                    interval,
                    ..Default::default()
                };
                let (heart, control) = Heartbeat::start(Typed::new(session), config).await?;
                let (opener, accepter) = heart.split_typed();
                (Opener::Typed(opener, control), Accepter::Typed(accepter))
            }
        };
        Ok(Session {
            opener: Mutex::new(opener),
            accepter: Mutex::new(accepter),
        })
    }

    pub async fn open(&self, kind: Option<u32>) -> Result<AnyStream, Error> {
        match &mut *self.opener.lock().await {
            Opener::Plain(opener) => opener.open().await.map(AnyStream::Plain),
            Opener::Typed(opener, _) => {
                let kind = StreamType::clamp(kind.unwrap_or(0));
                opener.open_typed(kind).await.map(AnyStream::Typed)
            }
        }
    }

    pub async fn accept(&self) -> Result<AnyStream, Error> {
        match &mut *self.accepter.lock().await {
            Accepter::Plain(accepter) => accepter
                .accept()
                .await
                .map(AnyStream::Plain)
                .ok_or(Error::SessionClosed),
            Accepter::Typed(accepter) => accepter.accept_typed().await.map(AnyStream::Typed),
        }
    }

    pub async fn close(&self) -> Result<(), Error> {
        let text = String::from("closed");
        match &mut *self.opener.lock().await {
            Opener::Plain(opener) => opener.close(Error::None, text).await,
            Opener::Typed(opener, _) => opener.close(Error::None, text).await,
        }
    }
}

/// A stream with or without a type.
pub enum AnyStream {
    Plain(Stream),
    Typed(TypedStream),
}

impl AnyStream {
    pub fn kind(&self) -> Option<u32> {
        match self {
            AnyStream::Plain(_) => None,
            AnyStream::Typed(stream) => Some(*stream.typ()),
        }
    }

    fn inner(&mut self) -> Pin<&mut Stream> {
        Pin::new(match self {
            AnyStream::Plain(stream) => stream,
            AnyStream::Typed(stream) => stream,
        })
    }
}

impl AsyncRead for AnyStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.inner().poll_read(context, buffer)
    }
}

impl AsyncWrite for AnyStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.inner().poll_write(context, data)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.inner().poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.inner().poll_shutdown(context)
    }
}
