//! The engine under [`super::pattern`]: whether a text matches, in time linear in its length.

#[cfg(not(target_family = "wasm"))]
use regex_syntax::hir::Hir;
#[cfg(target_family = "wasm")]
pub(super) use simple::Matcher;

/// Time per byte of text grows with the program in the worst case, so it is kept small.
const MAX_PROGRAM_BYTES: usize = 1 << 20;
#[cfg(not(target_family = "wasm"))]
const MAX_CACHE_BYTES: usize = 1 << 20;

/// Why there is no [`Matcher`].
#[derive(Debug)]
pub(super) enum Refused {
    TooLarge,
    Other(String),
}

/// A compiled expression: the fastest of several engines for each search.
#[cfg(not(target_family = "wasm"))]
#[derive(Clone, Debug)]
pub(super) struct Matcher(regex_automata::meta::Regex);

#[cfg(not(target_family = "wasm"))]
impl Matcher {
    pub(super) fn new(hir: &Hir) -> Result<Self, Refused> {
        let config = regex_automata::meta::Config::new()
            .nfa_size_limit(Some(MAX_PROGRAM_BYTES))
            .hybrid_cache_capacity(MAX_CACHE_BYTES);
        let built = regex_automata::meta::Builder::new().configure(config).build_from_hir(hir);
        built.map(Matcher).map_err(|error| match error.size_limit() {
            Some(_) => Refused::TooLarge,
            None => Refused::Other(error.to_string()),
        })
    }

    pub(super) fn is_match(&self, text: &str) -> bool {
        self.0.is_match(text)
    }
}

/// One small engine for all searches: each further one takes room in a browser's download.
#[cfg(any(test, target_family = "wasm"))]
pub(super) mod simple {
    use super::{MAX_PROGRAM_BYTES, Refused};
    use crate::sync::lock;
    use regex_automata::nfa::thompson::pikevm::{Builder, Cache, PikeVM};
    use regex_automata::nfa::thompson::{BuildError, Compiler, Config, WhichCaptures};
    use regex_syntax::hir::Hir;
    use std::sync::{Arc, Mutex};

    #[derive(Clone, Debug)]
    pub(crate) struct Matcher(Arc<(PikeVM, Mutex<Cache>)>);

    impl Matcher {
        pub(crate) fn new(hir: &Hir) -> Result<Self, Refused> {
            let config =
                Config::new().nfa_size_limit(Some(MAX_PROGRAM_BYTES)).which_captures(WhichCaptures::Implicit);
            let refused = |error: BuildError| match error.size_limit() {
                Some(_) => Refused::TooLarge,
                None => Refused::Other(error.to_string()),
            };
            let nfa = Compiler::new().configure(config).build_from_hir(hir).map_err(refused)?;
            let vm = Builder::new().build_from_nfa(nfa).map_err(refused)?;
            let cache = Mutex::new(vm.create_cache());
            Ok(Matcher(Arc::new((vm, cache))))
        }

        pub(crate) fn is_match(&self, text: &str) -> bool {
            let (vm, cache) = &*self.0;
            vm.is_match(&mut lock(cache), text)
        }
    }
}
