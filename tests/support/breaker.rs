//! A wire between a client and the gateway that breaks at the worst moment: the first answer has
//! come back whole, and the client never sees a byte of the answer.

use super::wire::{self, Wire};
use std::io;
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// A breaking wire, which lives as long as the test's process.
pub(crate) struct Breaker {
    pub(crate) address: SocketAddr,
    requests: Arc<AtomicUsize>,
}

impl Breaker {
    pub(crate) fn before(target: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let requests = Arc::new(AtomicUsize::new(0));
        let counted = requests.clone();
        std::thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let counted = counted.clone();
                std::thread::spawn(move || relay(client, target, &counted));
            }
        });
        Self { address, requests }
    }

    /// The number of requests that went through, including the request that got no answer.
    pub(crate) fn requests(&self) -> usize {
        self.requests.load(Ordering::SeqCst)
    }
}

/// Passes requests and answers on, one after the other, except the very first answer.
fn relay(client: TcpStream, target: SocketAddr, requests: &AtomicUsize) -> io::Result<()> {
    let (mut client, mut gateway) = (Wire::new(client), Wire::new(TcpStream::connect(target)?));
    loop {
        let head = client.head()?;
        let body = client.body(&head.fields, false);
        gateway.write(&written(&head, &body.bytes))?;
        let answer = gateway.head()?;
        let content = gateway.body(&answer.fields, false);
        if requests.fetch_add(1, Ordering::SeqCst) == 0 {
            return client.stream.shutdown(Shutdown::Both);
        }
        client.write(&written(&answer, &content.bytes))?;
    }
}

/// A message with its body's length in place of its framing.
fn written(head: &wire::Head, body: &[u8]) -> Vec<u8> {
    let mut text = format!("{}\r\n", head.start);
    for (name, value) in &head.fields {
        if !matches!(name.as_str(), "transfer-encoding" | "content-length") {
            text.push_str(&format!("{name}: {value}\r\n"));
        }
    }
    text.push_str(&format!("content-length: {}\r\n\r\n", body.len()));
    [text.as_bytes(), body].concat()
}
