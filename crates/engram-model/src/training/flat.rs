//! All parameters of a model as one vector.

use std::ops::Range;

use candle_core::{Device, Tensor};
use indexmap::IndexMap;

use crate::checkpoint::Parameters;
use crate::error::{ModelError, Result};
use crate::families::Gpt2Config;

/// One number for every element of every parameter: weights, gradients or moments.
#[derive(Debug, Clone, PartialEq)]
pub struct Flat {
    entries: IndexMap<String, (Range<usize>, Vec<usize>)>,
    values: Vec<f32>,
}

impl Flat {
    /// Zeros, laid out for a configuration.
    pub fn zeros(config: &Gpt2Config) -> Flat {
        let mut end = 0;
        let mut entries = IndexMap::new();
        for (name, shape) in config.parameters() {
            let start = end;
            end += shape.iter().product::<usize>();
            entries.insert(name, (start..end, shape));
        }
        Flat {
            entries,
            values: vec![0.0; end],
        }
    }

    /// The values of named parameters.
    ///
    /// # Errors
    /// [`ModelError::NoParameter`] if one is missing; [`ModelError::ParameterShape`] if one has another shape.
    pub fn of(config: &Gpt2Config, parameters: &Parameters) -> Result<Flat> {
        let mut flat = Flat::zeros(config);
        for (name, (range, shape)) in &flat.entries {
            let tensor = parameters
                .get(name)
                .ok_or_else(|| ModelError::NoParameter { name: name.clone() })?;
            if tensor.dims() != shape {
                return Err(ModelError::ParameterShape {
                    name: name.clone(),
                    expected: shape.clone(),
                    found: tensor.dims().to_vec(),
                });
            }
            let values = tensor.flatten_all()?.to_vec1::<f32>()?;
            flat.values[range.clone()].copy_from_slice(&values);
        }
        Ok(flat)
    }

    /// The parameters as tensors.
    ///
    /// # Errors
    /// Those of the tensor library.
    pub fn parameters(&self, device: &Device) -> Result<Parameters> {
        let tensor = |(name, (range, shape)): (&String, &(Range<usize>, Vec<usize>))| {
            let values = self.values[range.clone()].to_vec();
            let tensor = Tensor::from_vec(values, shape.as_slice(), device)?;
            Ok((name.clone(), tensor))
        };
        self.entries.iter().map(tensor).collect()
    }

    /// Names and element ranges of the parameters, in the order of the forward pass.
    pub fn ranges(&self) -> impl Iterator<Item = (&str, Range<usize>)> {
        self.entries
            .iter()
            .map(|(name, (range, _))| (name.as_str(), range.clone()))
    }

    /// The values of one parameter, row-major.
    pub fn get(&self, name: &str) -> Option<&[f32]> {
        let (range, _) = self.entries.get(name)?;
        self.values.get(range.clone())
    }

    /// The parameter with the largest absolute value, and that value; the first parameter with NaN if there is one.
    pub fn largest(&self) -> (&str, f32) {
        let larger = |most: f32, v: f32| {
            if most.is_nan() || v <= most { most } else { v }
        };
        let mut found = ("", 0.0);
        for (name, range) in self.ranges() {
            let of_this = self.values[range]
                .iter()
                .fold(0.0, |most, v| larger(most, v.abs()));
            if larger(found.1, of_this).to_bits() != found.1.to_bits() {
                found = (name, of_this);
            }
        }
        found
    }

    /// Element range of a parameter.
    pub(crate) fn range(&self, name: &str) -> Result<Range<usize>> {
        match self.entries.get(name) {
            Some((range, _)) => Ok(range.clone()),
            None => Err(ModelError::NoParameter {
                name: name.to_owned(),
            }),
        }
    }

    /// All values.
    pub fn values(&self) -> &[f32] {
        &self.values
    }

    /// All values, mutable.
    pub fn values_mut(&mut self) -> &mut [f32] {
        &mut self.values
    }
}
