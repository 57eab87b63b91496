//! From sources to decoded documents on all cores: one thread reads and splits, the others decode, the caller takes the
//! results in the order of the documents. Channels are short, so that memory stays bounded whatever the size of the input.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::num::NonZero;
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::sync::{Mutex, PoisonError};
use std::thread;

use super::decode::{Decoded, Limits, decode};
use super::document_problem::DocumentProblem;
use super::report::Place;
use super::source::Source;
use super::split::{Document, Splitter};

/// One document's outcome and place.
pub type Outcome = (Place, Decoded);

/// Documents travel in batches of about this many bytes, so that channels cost nothing.
const BATCH_BYTES: usize = 128 * 1024;
const READ_BYTES: usize = 256 * 1024;
/// Debug builds nest deep frames at the depth that budgets allow.
const STACK_BYTES: usize = 32 * 1024 * 1024;

struct Batch {
    sequence: usize,
    file: usize,
    documents: Vec<Document>,
}

/// Reads all sources and hands every document's outcome to `take`, in order.
pub fn run(sources: &[Source], limits: &Limits, mut take: impl FnMut(Outcome)) -> io::Result<()> {
    let workers = thread::available_parallelism().map_or(1, NonZero::get).min(32);
    let (batches, queue) = sync_channel::<Batch>(2 * workers);
    let (results, decoded) = channel::<(usize, Vec<Outcome>)>();
    let queue = Mutex::new(queue);
    thread::scope(|scope| {
        for _ in 0..workers {
            let (queue, results) = (&queue, results.clone());
            thread::Builder::new()
                .stack_size(STACK_BYTES)
                .spawn_scoped(scope, move || work(queue, &results, limits))?;
        }
        scope.spawn(move || Reader { batches, results, limits, sequence: 0 }.read_all(sources));
        in_order(decoded, &mut take);
        Ok(())
    })
}

fn work(queue: &Mutex<Receiver<Batch>>, results: &Sender<(usize, Vec<Outcome>)>, limits: &Limits) {
    loop {
        let next = queue.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(Batch { sequence, file, documents }) = next else { return };
        let outcomes = documents.iter().map(|document| {
            let place = Place { file, document: document.number, item: None, line: document.line };
            (place, decode(document, limits))
        });
        if results.send((sequence, outcomes.collect())).is_err() {
            return;
        }
    }
}

fn in_order(decoded: Receiver<(usize, Vec<Outcome>)>, take: &mut impl FnMut(Outcome)) {
    let mut early = BTreeMap::new();
    let mut next = 0;
    for (sequence, outcomes) in decoded {
        early.insert(sequence, outcomes);
        while let Some(outcomes) = early.remove(&next) {
            outcomes.into_iter().for_each(&mut *take);
            next += 1;
        }
    }
}

struct Reader<'a> {
    batches: SyncSender<Batch>,
    results: Sender<(usize, Vec<Outcome>)>,
    limits: &'a Limits,
    sequence: usize,
}

impl Reader<'_> {
    fn read_all(mut self, sources: &[Source]) {
        for (file, source) in sources.iter().enumerate() {
            let read = match source {
                Source::Stdin => self.read(file, BufReader::with_capacity(READ_BYTES, io::stdin())),
                Source::File(path) => match File::open(path) {
                    Ok(open) => self.read(file, BufReader::with_capacity(READ_BYTES, open)),
                    Err(error) => Err(error),
                },
            };
            if let Err(error) = read {
                let problem = DocumentProblem::error(format!("this file can't be read: {error}"));
                let place = Place { file, ..Place::default() };
                let outcome = (place, Decoded { problems: vec![problem], ..Decoded::default() });
                let _ = self.results.send((self.sequence, vec![outcome]));
                self.sequence += 1;
            }
        }
    }

    fn read(&mut self, file: usize, from: impl BufRead) -> io::Result<()> {
        let limit = self.limits.object_bytes.max(self.limits.list_bytes);
        let mut splitter = Splitter::new(from, limit);
        let (mut documents, mut bytes) = (Vec::new(), 0);
        loop {
            let next = splitter.next_document();
            if let Ok(Some(document)) = next {
                bytes += document.text.len();
                documents.push(document);
                if bytes < BATCH_BYTES {
                    continue;
                }
                self.send(file, std::mem::take(&mut documents));
                bytes = 0;
                continue;
            }
            // What was read before an error is still evaluated.
            self.send(file, documents);
            return next.map(|_| ());
        }
    }

    fn send(&mut self, file: usize, documents: Vec<Document>) {
        if documents.is_empty() {
            return;
        }
        // A closed channel means that every worker is gone, which only happens when the run is being torn down.
        let _ = self.batches.send(Batch { sequence: self.sequence, file, documents });
        self.sequence += 1;
    }
}
