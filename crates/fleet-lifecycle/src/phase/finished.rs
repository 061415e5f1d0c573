//! Finished: terminal. Only a stray machine still matters, and it is ended.

use crate::{Happening, Turn, phase::launching};

pub(crate) fn step(turn: &mut Turn<'_>, happening: Happening) {
    launching::stray(turn, &happening);
}
