//! Files of named arrays: safetensors with metadata, and numpy's `.npz`. The same arrays give the same bytes.

use std::collections::BTreeMap;
use std::io::{Cursor, Write};

use safetensors::Dtype;
use safetensors::tensor::TensorView;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

use crate::error::{Error, Result};

/// An array's values.
#[derive(Debug, Clone, PartialEq)]
pub enum Array {
    /// Of a shape, row by row.
    Floats(Vec<usize>, Vec<f32>),
    /// A row.
    Integers(Vec<i64>),
    /// A single text.
    Text(String),
    /// A row of texts.
    Texts(Vec<String>),
}

fn failed(error: impl std::fmt::Display) -> Error {
    Error::Arrays(error.to_string())
}

/// The float32 arrays as safetensors, with texts by key in the metadata.
///
/// # Errors
/// [`Error::Arrays`] where the format's library fails.
pub fn safetensors(arrays: &BTreeMap<String, Array>, about: &[(&str, String)]) -> Result<Vec<u8>> {
    let floats = arrays.iter().filter_map(|(name, array)| match array {
        Array::Floats(shape, values) => Some((name, shape, values)),
        _ => None,
    });
    let bytes: Vec<(&String, &Vec<usize>, Vec<u8>)> = floats
        .map(|(name, shape, values)| {
            let bytes = values.iter().flat_map(|v| v.to_le_bytes()).collect();
            (name, shape, bytes)
        })
        .collect();
    let mut views = Vec::with_capacity(bytes.len());
    for (name, shape, values) in &bytes {
        views.push((
            *name,
            TensorView::new(Dtype::F32, (*shape).clone(), values).map_err(failed)?,
        ));
    }
    let plain = safetensors::serialize(views, None).map_err(failed)?;
    // The library writes metadata in the order of a hash map's, which differs from run to run.
    let (length, rest) = plain
        .split_first_chunk::<8>()
        .ok_or_else(|| Error::Arrays("no header".to_owned()))?;
    let (header, values) = rest.split_at(u64::from_le_bytes(*length) as usize);
    let about: BTreeMap<&str, &str> = about.iter().map(|(k, v)| (*k, v.as_str())).collect();
    let mut whole = format!(
        "{{\"__metadata__\":{},{}",
        serde_json::to_string(&about).map_err(failed)?,
        std::str::from_utf8(&header[1..])
            .map_err(failed)?
            .trim_end()
    );
    while !whole.len().is_multiple_of(8) {
        whole.push(' ');
    }
    let mut out = (whole.len() as u64).to_le_bytes().to_vec();
    out.extend_from_slice(whole.as_bytes());
    out.extend_from_slice(values);
    Ok(out)
}

/// Arrays as numpy's `savez` writes them: a zip archive of a `.npy` file each, uncompressed.
///
/// # Errors
/// [`Error::Arrays`] where the format's library fails.
pub fn npz(arrays: &BTreeMap<String, Array>) -> Result<Vec<u8>> {
    let mut archive = ZipWriter::new(Cursor::new(Vec::new()));
    let options = SimpleFileOptions::default().compression_method(CompressionMethod::Stored);
    for (name, array) in arrays {
        archive
            .start_file(format!("{name}.npy"), options)
            .map_err(failed)?;
        archive.write_all(&npy(array)).map_err(failed)?;
    }
    Ok(archive.finish().map_err(failed)?.into_inner())
}

/// An array in numpy's format, version 1.0 (numpy.lib.format). Texts are UTF-32, as wide as the longest.
fn npy(array: &Array) -> Vec<u8> {
    let texts = |texts: &[String]| {
        let width = texts.iter().map(|t| t.chars().count()).max();
        let width = width.unwrap_or(0).max(1);
        let padded = texts.iter().flat_map(|text| {
            let characters = text.chars().map(|c| u32::from(c).to_le_bytes());
            characters.chain(std::iter::repeat([0; 4])).take(width)
        });
        (format!("<U{width}"), padded.flatten().collect::<Vec<u8>>())
    };
    let ((kind, values), shape) = match array {
        Array::Floats(shape, values) => {
            let values = values.iter().flat_map(|v| v.to_le_bytes()).collect();
            (("<f4".to_owned(), values), shape.clone())
        }
        Array::Integers(values) => {
            let bytes = values.iter().flat_map(|v| v.to_le_bytes()).collect();
            (("<i8".to_owned(), bytes), vec![values.len()])
        }
        Array::Text(text) => (texts(std::slice::from_ref(text)), Vec::new()),
        Array::Texts(all) => (texts(all), vec![all.len()]),
    };
    // A tuple as Python writes it.
    let shape: Vec<String> = shape.iter().map(usize::to_string).collect();
    let shape = match shape.as_slice() {
        [one] => format!("({one},)"),
        several => format!("({})", several.join(", ")),
    };
    let mut header = format!("{{'descr': '{kind}', 'fortran_order': False, 'shape': {shape}, }}");
    // Magic, version and length take 10 bytes; values begin at a multiple of 64.
    while !(10 + header.len() + 1).is_multiple_of(64) {
        header.push(' ');
    }
    header.push('\n');
    let mut out = b"\x93NUMPY\x01\x00".to_vec();
    out.extend_from_slice(&(header.len() as u16).to_le_bytes());
    out.extend_from_slice(header.as_bytes());
    out.extend_from_slice(&values);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Byte for byte what numpy 2.4 writes: `numpy.lib.format.write_array` of the same arrays.
    #[test]
    fn equals_numpy() {
        let header = |descr: &str, shape: &str| {
            let dict =
                format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}");
            let mut all = b"\x93NUMPY\x01\x00v\x00".to_vec();
            all.extend_from_slice(format!("{dict:<117}\n").as_bytes());
            all
        };
        let with = |mut header: Vec<u8>, values: &[u8]| {
            header.extend_from_slice(values);
            header
        };
        let floats = Array::Floats(vec![1, 2], vec![1.0, -2.5]);
        let expected = with(header("<f4", "(1, 2)"), b"\0\0\x80?\0\0 \xc0");
        assert_eq!(npy(&floats), expected);
        let integers = Array::Integers(vec![1, 258]);
        let values = [1, 0, 0, 0, 0, 0, 0, 0, 2, 1, 0, 0, 0, 0, 0, 0];
        assert_eq!(npy(&integers), with(header("<i8", "(2,)"), &values));
        let texts = Array::Texts(vec!["é".to_owned(), "ab".to_owned()]);
        let values = b"\xe9\0\0\0\0\0\0\0a\0\0\0b\0\0\0";
        assert_eq!(npy(&texts), with(header("<U2", "(2,)"), values));
        let text = Array::Text("a".to_owned());
        assert_eq!(npy(&text), with(header("<U1", "()"), b"a\0\0\0"));
    }

    #[test]
    fn safetensors_with_metadata_are_read_back() {
        let arrays = BTreeMap::from([("x".to_owned(), Array::Floats(vec![2], vec![1.0, 2.0]))]);
        let about = [("prompt", "\"é\"\n".to_owned()), ("ids", "[1]".to_owned())];
        let bytes = safetensors(&arrays, &about).unwrap();
        let (length, meta) = safetensors::SafeTensors::read_metadata(&bytes).unwrap();
        assert!(length.is_multiple_of(8));
        let meta = meta.metadata().as_ref().unwrap();
        assert_eq!(
            (meta["prompt"].as_str(), meta["ids"].as_str()),
            ("\"é\"\n", "[1]")
        );
        let tensors = safetensors::SafeTensors::deserialize(&bytes).unwrap();
        assert_eq!(tensors.tensor("x").unwrap().shape(), [2]);
        assert_eq!(bytes, safetensors(&arrays, &about).unwrap());
    }
}
