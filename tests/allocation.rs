//! What a request costs in allocations: nothing, from the socket to the socket, once the worker has
//! its buffers. The workers run in this process, whose allocator counts.

#![allow(clippy::unwrap_used)]

use paircached::command::{Cache, Settings};
use paircached::protocol::Protocol;
use paircached::server::{Inherited, Listeners, Terms, Workers};
use paircached::store::{self, Store};
use std::alloc::{GlobalAlloc, Layout, System};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::channel;
use tokio::sync::mpsc;

/// Requests of each kind, after as many that the buffers grow by.
const ROUNDS: u64 = 500;
struct Counting;

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

#[global_allocator]
static COUNTING: Counting = Counting;

// SAFETY: everything is left to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller keeps the contract of this function, which is the same.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(memory, layout) }
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: as above.
        unsafe { System.realloc(memory, layout, size) }
    }
}

fn cache() -> Arc<Cache> {
    let store = Store::new(&store::Settings::default());
    let settings = Settings {
        threads: 1,
        max_connections: 10,
        requests_per_event: 20,
        cas: true,
        item_size_max: 1 << 20,
        ..Settings::default()
    };
    Arc::new(Cache::new(Arc::new(store), settings, None, None, None))
}

/// Starts one worker and connects to it.
fn connect() -> TcpStream {
    let (said, heard) = channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let cache = cache();
            let (requests, mut asked) = mpsc::channel(1);
            let (workers, _threads) = Workers::start(&cache, &requests).unwrap();
            let terms = Arc::new(Terms { protocol: Protocol::Auto, tag: None, tls: None });
            let mut listeners = Listeners::new(Inherited::default());
            listeners.add_tcp("127.0.0.1", 0, &terms).unwrap();
            listeners.listen(10).unwrap();
            let address = listeners.addresses()[0];
            let _accepting = listeners.accept(&cache, &Arc::new(workers)).unwrap();
            said.send(address).unwrap();
            // Nobody asks for anything: this is for ever.
            asked.recv().await;
        });
    });
    let stream = TcpStream::connect(heard.recv().unwrap()).unwrap();
    stream.set_nodelay(true).unwrap();
    stream
}

/// Allocations in the whole process while the same is asked again and again.
fn allocations(stream: &mut TcpStream, request: &[u8], reply: &[u8]) -> u64 {
    let mut received = vec![0; reply.len()];
    let mut before = 0;
    for round in 0..2 * ROUNDS {
        if round == ROUNDS {
            before = ALLOCATIONS.load(Ordering::Relaxed);
        }
        stream.write_all(request).unwrap();
        stream.read_exact(&mut received).unwrap();
        assert!(received == reply, "{}", received.escape_ascii());
    }
    ALLOCATIONS.load(Ordering::Relaxed) - before
}

fn set(length: usize) -> Vec<u8> {
    [format!("set key 7 0 {length}\r\n").as_bytes(), &vec![b'x'; length], b"\r\n"].concat()
}

fn value(length: usize) -> Vec<u8> {
    [format!("VALUE key 7 {length}\r\n").as_bytes(), &vec![b'x'; length], b"\r\nEND\r\n"].concat()
}

#[test]
fn requests_for_small_values_allocate_nothing() {
    let before = ALLOCATIONS.load(Ordering::Relaxed);
    let mut stream = connect();
    assert!(ALLOCATIONS.load(Ordering::Relaxed) > before, "allocations are not counted");
    let mut check = |what: &str, request: &[u8], reply: &[u8]| {
        assert_eq!(allocations(&mut stream, request, reply), 0, "{what}");
    };
    for length in [0, 100, 10_000, 16_000] {
        check(&format!("set of {length} bytes"), &set(length), b"STORED\r\n");
        check(&format!("get of {length} bytes"), b"get key\r\n", &value(length));
    }
    check("miss", b"get nothing\r\n", b"END\r\n");
    check("pipelined sets", &set(100).repeat(64), &b"STORED\r\n".repeat(64));
    check("pipelined gets", &b"get key\r\n".repeat(64), &value(100).repeat(64));
    check("mg", b"mg key t f\r\n", b"HD t-1 f7\r\n");
    check("ms", b"ms key 2\r\n12\r\n", b"HD\r\n");
    check("touch", b"touch key 0\r\n", b"TOUCHED\r\n");
    check("incr", b"incr key 0\r\n", b"12\r\n");
    check("add over an item", b"add key 0 0 1\r\n1\r\n", b"NOT_STORED\r\n");
    check("delete of nothing", b"delete nothing\r\n", b"NOT_FOUND\r\n");
    check("error", b"nonsense\r\n", b"ERROR\r\n");
}
