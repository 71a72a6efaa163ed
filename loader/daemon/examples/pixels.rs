//! One image through the transforms with the draw given, raw bytes to stdout: what `client-py/tests/test_parity.py`
//! compares with torchvision.
//!
//! `pixels FILE JSON`, all keys optional: `size` [height, width] of the result (default: the image's), `crop`
//! [left, top, width, height] (default: the whole image), `shorter_side`, `center_crop`, `flip`, `f32` or `f16` or `bf16`, `chw`, `mean`
//! with `std`, `interpolation` as torchvision's value with `antialias`. `{"info": true}` prints the width and the height instead.
#![allow(missing_docs)] // a program, not a library

use std::io::Write;

use forebay::decode::{ImageDecoder, ImageLimits, Rect};
use forebay::transform::{
    Draw, Filter, ImageOp, ImagePipeline, OutputOrder, OutputType, ResizeSize, RowDraws, Scratch,
};
use serde::Deserialize;

#[derive(Deserialize)]
#[expect(clippy::struct_excessive_bools, reason = "switches of a test program, each with its own name")]
#[serde(deny_unknown_fields)]
struct Request {
    #[serde(default)]
    info: bool,
    size: Option<[u32; 2]>,
    crop: Option<[u32; 4]>,
    shorter_side: Option<u32>,
    #[serde(default)]
    center_crop: bool,
    #[serde(default)]
    flip: bool,
    #[serde(default)]
    f32: bool,
    #[serde(default)]
    f16: bool,
    #[serde(default)]
    bf16: bool,
    #[serde(default)]
    chw: bool,
    mean: Option<[f32; 3]>,
    std: Option<[f32; 3]>,
    interpolation: Option<String>,
    antialias: Option<bool>,
}

impl Request {
    fn filter(&self) -> Result<Filter, String> {
        let antialias = self.antialias.unwrap_or(true);
        Ok(match self.interpolation.as_deref() {
            None | Some("bilinear") => Filter::Bilinear { antialias },
            Some("bicubic") => Filter::Bicubic { antialias },
            Some("nearest") => Filter::Nearest,
            Some("nearest-exact") => Filter::NearestExact,
            Some(other) => return Err(format!("no interpolation {other}")),
        })
    }
}

/// Nothing here is drawn.
struct Given;

impl RowDraws for Given {
    fn unit_f64(&mut self) -> f64 {
        0.0
    }
    fn below(&mut self, _n: u64) -> u64 {
        0
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let [file, json]: [String; 2] =
        std::env::args().skip(1).collect::<Vec<_>>().try_into().map_err(|_| "usage: pixels FILE JSON")?;
    let request: Request = serde_json::from_str(&json)?;
    let encoded = std::fs::read(file)?;
    let mut decoder = ImageDecoder::new(ImageLimits::default());
    let info = decoder.info(&encoded)?;
    if request.info {
        println!("{} {}", info.width, info.height);
        return Ok(());
    }
    let [height, width] = request.size.unwrap_or([info.height, info.width]);

    let filter = request.filter()?;
    let mut ops = Vec::new();
    match request.shorter_side {
        Some(side) => ops.push(ImageOp::Resize { size: ResizeSize::ShorterSide(side), filter }),
        None if !request.center_crop => {
            ops.push(ImageOp::Resize { size: ResizeSize::Exact { height, width }, filter });
        }
        None => {}
    }
    if request.center_crop {
        ops.push(ImageOp::CenterCrop { height, width });
    }
    if let (Some(mean), Some(std)) = (request.mean, request.std) {
        ops.push(ImageOp::Normalize { mean, std });
    }
    let output = match (request.f32, request.f16, request.bf16) {
        (true, ..) => OutputType::F32,
        (_, true, _) => OutputType::F16,
        (_, _, true) => OutputType::Bf16,
        _ => OutputType::U8,
    };
    let order = if request.chw { OutputOrder::ChannelsFirst } else { OutputOrder::ChannelsLast };
    let pipeline = ImagePipeline::new(&ops, output, order)?;

    let drawn = pipeline.draw(info, &mut Given);
    let crop =
        request.crop.map_or(drawn.crop, |[left, top, width, height]| Rect { left, top, width, height });
    let draw = Draw { crop, flip: request.flip, ..drawn };
    let mut sample = vec![0; pipeline.view_bytes()];
    pipeline.run_drawn(&encoded, &mut decoder, &mut Scratch::new(), &draw, &mut sample)?;
    std::io::stdout().write_all(&sample)?;
    Ok(())
}
