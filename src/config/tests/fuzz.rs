//! The configuration under random changes of the sample file: read, or refused with a message.

use std::time::{Duration, Instant};

use rand::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

use super::*;

const SAMPLE: &str = include_str!("../../../sessionlake.toml");
const FUZZ_SECONDS: &str = "SESSIONLAKE_FUZZ_SECONDS";

/// Changes, removes or repeats some characters.
fn mutate(text: &mut Vec<char>, random: &mut ChaCha8Rng) {
    const TELLING: [char; 16] =
        ['"', '\'', '[', ']', '{', '}', '=', '.', '#', '\n', '\0', '-', '9', 'é', ',', '\\'];
    let at = random.random_range(0..text.len());
    let end = (at + random.random_range(0..30)).min(text.len());
    match random.random_range(0..4) {
        0 => text[at] = TELLING[random.random_range(0..TELLING.len())],
        1 => drop(text.drain(at..end)),
        2 => {
            let part = text[at..end].to_vec();
            let place = random.random_range(0..=text.len());
            text.splice(place..place, part);
        }
        _ => text.insert(at, TELLING[random.random_range(0..TELLING.len())]),
    }
}

#[test]
fn a_changed_configuration_is_read_or_refused_with_a_message() {
    let seconds = std::env::var(FUZZ_SECONDS).ok().and_then(|seconds| seconds.parse().ok());
    let duration = Duration::from_secs(seconds.unwrap_or(1));
    let seed = if seconds.is_some() { std::process::id() } else { 0 };
    let mut random = ChaCha8Rng::seed_from_u64(seed.into());
    let (started, mut files) = (Instant::now(), 0_u64);
    while started.elapsed() < duration {
        let mut text: Vec<char> = SAMPLE.chars().collect();
        for _ in 0..random.random_range(1..6) {
            mutate(&mut text, &mut random);
        }
        let text: String = text.into_iter().collect();
        if let Err(refused) = read_with(&text, &LoadOptions::default()) {
            assert!(!refused.to_string().is_empty(), "{text}");
        }
        files += 1;
    }
    eprintln!("configuration: {files} random files in {:?}", started.elapsed());
}
