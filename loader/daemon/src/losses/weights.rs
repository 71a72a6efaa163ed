//! Weights made of losses: for a person to look at, and to name as an input of a later order.

use forebay_proto::v1;

use super::Book;
use super::book::By;
use crate::error::Fault;

/// How losses become weights: `(loss / average) ^ (1 / temperature)`, kept between `least` and `most`.
#[derive(Clone, Debug, PartialEq)]
pub struct WeightOptions {
    /// Of which source; empty: the only one.
    pub source: String,
    /// Which of a sample's numbers is its loss.
    pub by: By,
    /// 1 is proportional; more is flatter.
    pub temperature: f64,
    /// The lowest weight.
    pub least: f64,
    /// The highest.
    pub most: f64,
}

impl Default for WeightOptions {
    fn default() -> Self {
        Self { source: String::new(), by: By::Loss, temperature: 1.0, least: 0.1, most: 10.0 }
    }
}

impl WeightOptions {
    /// As a request has them.
    ///
    /// # Errors
    /// Invalid: a number out of its range.
    pub fn of(asked: &v1::LossWeights) -> Result<Self, Fault> {
        let or = |given: f64, default: f64| if given == 0.0 { default } else { given };
        let options = Self {
            source: asked.source.clone(),
            by: By::of(asked.by()),
            temperature: or(asked.temperature, 1.0),
            least: asked.least,
            most: or(asked.most, f64::INFINITY),
        };
        options.check()?;
        Ok(options)
    }

    /// For a request.
    pub fn to_proto(&self) -> v1::LossWeights {
        v1::LossWeights {
            source: self.source.clone(),
            by: self.by.to_proto().into(),
            temperature: self.temperature,
            least: self.least,
            most: if self.most.is_finite() { self.most } else { 0.0 },
        }
    }

    /// Whether the numbers make sense.
    ///
    /// # Errors
    /// Invalid, naming the one that does not.
    pub fn check(&self) -> Result<(), Fault> {
        let Self { temperature, least, most, .. } = *self;
        if matches!(self.by, By::Nan | By::Count) {
            return Err(Fault::invalid("weights are made of losses: by loss, max, last or recent"));
        }
        if !temperature.is_finite() || temperature <= 0.0 {
            return Err(Fault::invalid(format!("temperature {temperature} is no positive number"))
                .hint("1 is proportional to the loss; more is flatter"));
        }
        if !(least >= 0.0 && least.is_finite() && most > 0.0 && least <= most) {
            return Err(Fault::invalid(format!("weights between {least} and {most}"))
                .hint("give two numbers, the lower first and not below 0"));
        }
        Ok(())
    }
}

impl Book {
    /// One weight a sample of a source, in the order of its snapshot. 1 where no finite loss is known, which is what an
    /// average one has.
    ///
    /// # Errors
    /// Invalid: no such source, no finite loss, or an average that is not positive.
    pub fn weights(&self, options: &WeightOptions) -> Result<Vec<f64>, Fault> {
        options.check()?;
        let source = self.source(&options.source)?;
        let samples = self.sources[source as usize].samples;
        let known: Vec<_> = self
            .entries
            .iter()
            .filter(|entry| entry.source == source)
            .filter_map(|entry| Some((entry.sample?, options.by.value(&entry.stat)?)))
            .collect();
        let average = known.iter().map(|(_, loss)| loss).sum::<f64>() / known.len() as f64;
        if known.is_empty() || average <= 0.0 {
            let message = match known.len() {
                0 => "no sample has a finite loss".to_owned(),
                count => format!("the average loss of {count} samples is {average}"),
            };
            return Err(Fault::invalid(message).hint("weights need losses that are positive on average"));
        }
        let mut weights = vec![1.0f64.clamp(options.least, options.most); samples as usize];
        for (sample, loss) in known {
            let weight = (loss.max(0.0) / average).powf(1.0 / options.temperature);
            weights[sample as usize] = weight.clamp(options.least, options.most);
        }
        Ok(weights)
    }
}
