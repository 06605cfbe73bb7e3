//! The codec's pure functions, driven as a connection drives them.

use dualgate::http1::{Answer, Beginning, Framing};
use http::Method;

use super::{End, Ours, Seen};

pub fn read(pieces: &[&[u8]], asked: &Method) -> Ours {
    let mut beginning = Beginning::default();
    let mut pieces = pieces.iter();
    let (answer, early) = loop {
        let Some(piece) = pieces.next() else { return refused("the connection was closed") };
        match beginning.look(piece, asked) {
            Ok(Some(found)) => break found,
            Ok(None) => {}
            Err(fault) => return refused(fault.0),
        }
    };
    let Answer { head, mut framing, persists, .. } = answer;
    let (mut body, mut beyond, mut fault) = (Vec::new(), 0, None);
    for piece in std::iter::once(&early[..]).chain(pieces.copied()) {
        let mut at = 0;
        while at < piece.len() && fault.is_none() && !framing.is_done() {
            match framing.step(&piece[at..]) {
                Ok(found) => {
                    body.extend_from_slice(&piece[at..][found.payload]);
                    assert!(found.taken > 0 && at + found.taken <= piece.len(), "it goes on, within what there is");
                    at += found.taken;
                }
                Err(error) => fault = Some(error.0.to_owned()),
            }
        }
        beyond += piece.len() - at;
    }
    let end = match framing {
        _ if fault.is_some() => End::Cut,
        Framing::ToClose => End::Close,
        _ if framing.is_done() => End::Said { goes_on: persists && beyond == 0 },
        _ => End::Cut,
    };
    let mut fields: Vec<(String, Vec<u8>)> = Vec::new();
    for (name, value) in head.fields() {
        let name = String::from_utf8(name.to_ascii_lowercase()).unwrap();
        let after = fields.iter().rposition(|field| field.0 == name).map_or(fields.len(), |at| at + 1);
        fields.insert(after, (name, value.to_vec()));
    }
    Ours { seen: Ok(Seen { status: head.status().as_u16(), fields, body, end }), fault }
}

fn refused(reason: &str) -> Ours {
    Ours { seen: Err(reason.to_owned()), fault: None }
}
