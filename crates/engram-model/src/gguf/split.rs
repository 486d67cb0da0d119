//! Split models, as written by the splitters of llama.cpp and the gguf package: each file has its part number and the
//! number of parts, the first has the metadata, and their names follow one pattern.

use std::path::{Path, PathBuf};

use engram_core::PartName;

use super::Gguf;
use crate::bytes::Bytes;
use crate::error::{ModelError, Result, shown};

const NUMBER: &str = "split.no";
const COUNT: &str = "split.count";
const TENSORS: &str = "split.tensors.count";

/// A file's place in a split model.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Place {
    /// Number of the part, from 1.
    number: usize,
    count: usize,
    /// Number of tensors in all parts.
    tensors: Option<usize>,
}

impl Place {
    /// `None` for a model in one file.
    fn of(file: &Gguf) -> Result<Option<Place>> {
        let count = file.get::<u32>(COUNT)?.unwrap_or(1) as usize;
        if count <= 1 {
            return Ok(None);
        }
        let number = file.require::<u32>(NUMBER)? as usize;
        if number >= count {
            let why = format!("metadata {NUMBER} is {number} and {COUNT} is {count}");
            return Err(refused(&file.path, why));
        }
        Ok(Some(Place {
            number: number + 1,
            count,
            tensors: file.get::<u32>(TENSORS)?.map(|n| n as usize),
        }))
    }
}

fn refused(path: &Path, why: String) -> ModelError {
    let path = path.to_owned();
    ModelError::GgufKind { path, why }
}

/// The whole model of a file: if it is a part, with the other parts from the same folder, in order.
pub(super) fn whole(file: Gguf) -> Result<Gguf> {
    let Some(place) = Place::of(&file)? else {
        return Ok(file);
    };
    let mut parts = Vec::with_capacity(place.count);
    let paths = siblings(&file.path, place)?;
    let mut named = Some(file);
    for (index, path) in paths.iter().enumerate() {
        let own = named.take_if(|_| index + 1 == place.number);
        parts.push(match own {
            Some(file) => file,
            None => Gguf::new(Bytes::open(path)?)?,
        });
    }
    joined(parts, place)
}

/// The files of all parts.
fn siblings(path: &Path, place: Place) -> Result<Vec<PathBuf>> {
    let Place { number, count, .. } = place;
    let name = path.file_name().and_then(|name| name.to_str());
    let name = name.and_then(PartName::parse);
    let Some(name) = name.filter(|name| (name.number, name.count) == (number, count)) else {
        return Err(refused(
            path,
            format!(
                "part {number} of {count} of a model; its name is to end in -{number:05}-of-{count:05}.gguf, and the other \
                 parts are to be beside it under theirs"
            ),
        ));
    };
    let all: Vec<PathBuf> = (1..=count)
        .map(|part| path.with_file_name(name.of_part(part)))
        .collect();
    match all.iter().position(|part| !part.is_file()) {
        None => Ok(all),
        Some(missing) => Err(refused(
            path,
            format!(
                "part {number} of {count} of a model; part {}, {}, is missing: put all parts into one folder",
                missing + 1,
                name.of_part(missing + 1)
            ),
        )),
    }
}

/// The parts as one model: metadata of the first, tensors of all.
fn joined(parts: Vec<Gguf>, place: Place) -> Result<Gguf> {
    let mut parts = parts.into_iter().enumerate();
    let Some((_, mut whole)) = parts.next() else {
        return Err(refused(Path::new("(parts)"), "no part".to_owned()));
    };
    check(&whole, 1, place)?;
    for (index, part) in parts {
        check(&part, index + 1, place)?;
        let only_of_parts = |key: &str| key.starts_with("split.") || key.starts_with("general.");
        if let Some(key) = part.header.metadata.keys().find(|key| !only_of_parts(key)) {
            let why = format!(
                "metadata {} is in part {}, and only the first part's is read; split the model anew",
                shown(key),
                index + 1
            );
            return Err(refused(&part.path, why));
        }
        for (name, mut tensor) in part.header.tensors {
            tensor.part = index;
            let shown = shown(&name);
            if whole.header.tensors.insert(name, tensor).is_some() {
                let why = format!("tensor {shown} is in an earlier part, too");
                return Err(refused(&part.path, why));
            }
        }
        whole.files.extend(part.files);
    }
    let found = whole.header.tensors.len();
    match place.tensors {
        Some(tensors) if tensors != found => Err(refused(
            &whole.path,
            format!(
                "metadata {TENSORS} is {tensors}, and its {} parts hold {found} tensors: they are not of one model",
                place.count
            ),
        )),
        _ => Ok(whole),
    }
}

/// Fails for a file whose content is another part, or a part of another model, than its name says.
fn check(part: &Gguf, number: usize, place: Place) -> Result<()> {
    let expected = Place { number, ..place };
    let found = Place::of(part)?;
    let agrees = |found: &Place| {
        let tensors = found.tensors.is_none() || found.tensors == expected.tensors;
        (found.number, found.count) == (number, expected.count) && tensors
    };
    if found.as_ref().is_some_and(agrees) {
        return Ok(());
    }
    let says = match found {
        None => "it is whole".to_owned(),
        Some(found) => {
            let tensors = found.tensors.map(|n| format!(" with {n} tensors in all"));
            let (number, count) = (found.number, found.count);
            format!(
                "it is part {number} of {count}{}",
                tensors.unwrap_or_default()
            )
        }
    };
    Err(refused(
        &part.path,
        format!(
            "by its name it is part {number} of {}, and its metadata say that {says}: it is not of the same model",
            expected.count
        ),
    ))
}
