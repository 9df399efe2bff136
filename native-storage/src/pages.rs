//! Large pages for what searches read all over.
#![allow(unsafe_code)]

use asteroid_core::LargePages;
use std::ops::Range;

/// What one entry of the processor's address cache covers then, on every system that this is for.
const LARGE: usize = 2 << 20;
/// Parts of a large page, and of how many of them the rest may be anything.
const PARTS: usize = 4;
const SPARE: usize = 1;

/// Asks Linux to back memory by large pages, which takes a millisecond for each while other threads that need memory wait.
/// Elsewhere, or where the system does not give any, nothing happens.
#[derive(Default)]
pub struct SystemPages(());

impl LargePages for SystemPages {
    fn back(&self, spans: Vec<Range<usize>>) {
        if cfg!(target_os = "linux") {
            let _ = large_pages(spans).into_iter().try_for_each(collapse);
        }
    }
}

/// The large pages that `spans` make up but for a small part: that part is memory too, if none of ours.
fn large_pages(mut spans: Vec<Range<usize>>) -> Vec<usize> {
    spans.sort_unstable_by_key(|span| span.start);
    let mut pages: Vec<(usize, usize)> = Vec::new();
    for span in spans {
        let mut at = span.start;
        while at < span.end {
            let page = at / LARGE * LARGE;
            let end = span.end.min(page + LARGE);
            match pages.last_mut() {
                Some((last, held)) if *last == page => *held += end - at,
                _ => pages.push((page, end - at)),
            }
            at = end;
        }
    }
    pages.retain(|&(_, held)| held >= LARGE / PARTS * (PARTS - SPARE));
    pages.into_iter().map(|(page, _)| page).collect()
}

/// Has one large page in the place of the small ones at `page`; `Err` where it is no use to go on.
#[cfg(target_os = "linux")]
fn collapse(page: usize) -> Result<(), ()> {
    let page = std::ptr::without_provenance_mut(page);
    // SAFETY: this never changes what memory holds, only what it is made of, and fails where there is none.
    let refused = unsafe { libc::madvise(page, LARGE, libc::MADV_COLLAPSE) } != 0;
    // Older systems do not know it, and some have none left to give; a page that was freed since is no reason to stop.
    let stops = |code| matches!(code, libc::EINVAL | libc::ENOMEM | libc::EAGAIN);
    let error = std::io::Error::last_os_error().raw_os_error();
    if refused && error.is_some_and(stops) { Err(()) } else { Ok(()) }
}

#[cfg(not(target_os = "linux"))]
fn collapse(_page: usize) -> Result<(), ()> {
    Err(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_are_those_that_spans_cover_but_for_a_quarter() {
        let at = |page: usize, part: usize| page * LARGE + part * LARGE / 8;
        let spans = vec![
            at(9, 4)..at(9, 8),
            at(3, 7)..at(6, 1),
            at(6, 2)..at(6, 7),
            at(9, 0)..at(9, 2),
            at(8, 0)..at(8, 5),
            at(7, 0)..at(7, 0),
        ];
        assert_eq!(large_pages(spans), [4, 5, 6, 9].map(|page| page * LARGE));
        assert!(large_pages(Vec::new()).is_empty());
    }

    #[test]
    fn memory_backed_by_large_pages_holds_what_it_held() {
        let words: Vec<usize> = (0..(8 << 20) / size_of::<usize>()).collect();
        let part = |at: usize| words[at..][..words.len() / 4].as_ptr_range();
        let spans = [0, 1, 2, 3].map(|quarter| part(quarter * words.len() / 4));
        let spans: Vec<_> = spans.map(|span| span.start.addr()..span.end.addr()).to_vec();
        assert!(!large_pages(spans.clone()).is_empty());
        for _ in 0..2 {
            SystemPages::default().back(spans.clone());
            assert!(words.iter().enumerate().all(|(at, &word)| at == word));
        }
        // What is no memory any more does no harm.
        SystemPages::default().back(vec![LARGE..2 * LARGE, 2 * LARGE..3 * LARGE]);
    }
}
