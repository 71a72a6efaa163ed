//! Draws one photograph-like picture: a sky, a ridge, ground, and things whose colour and texture tell the class.
//!
//! What a network can learn is in the things alone: their hue (a class a place on the colour circle) and their texture
//! (a class one of five kinds). Sky, ground, light, place, size and grain are drawn without regard to the class.

use super::noise::{Plane, SplitMix64, smoothstep, wave};

/// Interleaved RGB, row-major, 3 bytes a pixel.
pub(super) struct Picture {
    pub(super) width: usize,
    pub(super) height: usize,
    pub(super) rgb: Vec<u8>,
}

type Colour = [f32; 3];

/// Draws the picture of `class` among `classes` that `draw` decides, `size` pixels wide and high.
pub(super) fn draw_picture(class: u32, classes: u32, size: (usize, usize), draw: &mut SplitMix64) -> Picture {
    let scene = Scene::draw(class, classes, size, draw);
    let (width, height) = size;
    let mut rgb = Vec::with_capacity(width * height * 3);
    for y in 0..height {
        let (broad, fine) = (scene.broad.row(y), scene.fine.row(y));
        for x in 0..width {
            // The grain of a mirrored place tints the colour a little, as a sensor does, for no second plane's cost.
            let colour = scene.colour_at(x, y, broad[x], fine[x], fine[width - 1 - x]);
            rgb.extend(colour.map(|value| (value.clamp(0.0, 1.0) * 255.0 + 0.5) as u8));
        }
    }
    Picture { width, height, rgb }
}

struct Scene {
    /// Large shapes: bends outlines, mottles the ground. About -1..1.
    broad: Plane,
    /// Fine grain, down to one pixel: what most of a photograph's bytes are spent on.
    fine: Plane,
    width: f32,
    height: f32,
    sky: [Colour; 2],
    ground: [Colour; 2],
    horizon: f32,
    /// Strength of the grain on things and ground; the sky gets a quarter.
    grain: f32,
    /// Direction the light comes from, unit-less.
    light: (f32, f32),
    things: Vec<Thing>,
}

impl Scene {
    fn draw(class: u32, classes: u32, size: (usize, usize), draw: &mut SplitMix64) -> Self {
        let longest = size.0.max(size.1);
        let roughness = draw.between(0.70, 1.0);
        let calm = draw.unit();
        let things = 2 + (draw.next_u64() % 4) as usize;
        Self {
            broad: Plane::fractal(size, longest / 3, 0.5, draw),
            fine: Plane::fractal(size, 8, roughness, draw),
            width: size.0 as f32,
            height: size.1 as f32,
            sky: [muted(draw, (0.50, 0.66), (0.45, 0.95)), muted(draw, (0.45, 1.1), (0.60, 1.0))],
            ground: [muted(draw, (0.03, 0.40), (0.10, 0.45)), muted(draw, (0.03, 0.40), (0.30, 0.75))],
            horizon: draw.between(0.15, 0.65),
            grain: 0.007 + 0.175 * calm * calm,
            light: (draw.between(-0.8, 0.8), draw.between(-0.9, -0.2)),
            things: (0..things).map(|i| Thing::draw(class, classes, i == 0, draw)).collect(),
        }
    }

    fn colour_at(&self, x: usize, y: usize, broad: f32, fine: f32, tint: f32) -> Colour {
        let (u, v) = (x as f32 / self.width, y as f32 / self.height);
        // Half the shorter side is 1, so that things keep their shape in wide and tall pictures.
        let shorter = self.width.min(self.height) * 0.5;
        let place = ((x as f32 - self.width * 0.5) / shorter, (y as f32 - self.height * 0.5) / shorter);
        let (mut colour, mut grain) = self.background(u, v, broad);
        for thing in &self.things {
            let (cover, lit) = thing.cover_at(place, broad, self.light);
            if cover > 0.0 {
                colour = mixed(colour, thing.colour_at(place, broad, lit), cover);
                grain += (self.grain - grain) * cover;
            }
        }
        let tint = 0.3 * grain * tint;
        let grain = grain * fine;
        [colour[0] + grain + tint, colour[1] + grain, colour[2] + grain - tint]
    }

    fn background(&self, u: f32, v: f32, broad: f32) -> (Colour, f32) {
        let ridge = self.horizon + 0.10 * broad + 0.03 * wave(u * 2.0 + self.horizon * 7.0);
        let edge = smoothstep((v - ridge) * self.height * 0.4);
        let sky = mixed(self.sky[0], self.sky[1], v / self.horizon.max(0.01));
        let ground = mixed(self.ground[0], self.ground[1], 0.5 + 0.6 * broad + 0.3 * (v - 0.5));
        (mixed(sky, ground, edge), self.grain * (0.35 + 0.65 * edge))
    }
}

/// One thing of the class: a bent ellipse, lit from one side, with the class's texture in the class's hue.
struct Thing {
    centre: (f32, f32),
    radius: (f32, f32),
    /// Cosine and sine of the tilt.
    tilt: (f32, f32),
    bend: f32,
    edge: f32,
    texture: Texture,
    repeats: f32,
    colours: [Colour; 2],
}

#[derive(Clone, Copy)]
enum Texture {
    Smooth,
    Stripes,
    Rings,
    Spots,
    Checks,
}

impl Texture {
    const ALL: [Self; 5] = [Self::Stripes, Self::Spots, Self::Smooth, Self::Rings, Self::Checks];

    /// From 0 (first colour) to 1 (second), at a place within the thing in repeats of the pattern.
    fn value_at(self, (u, v): (f32, f32)) -> f32 {
        match self {
            Self::Smooth => 0.5,
            Self::Stripes => smoothstep(0.5 + 1.6 * wave(u)),
            Self::Rings => smoothstep(0.5 + 1.6 * wave((u * u + v * v).sqrt())),
            Self::Spots => smoothstep(2.2 * (wave(u) * wave(v)).max(0.0)),
            Self::Checks => smoothstep(0.5 + 3.0 * wave(u) * wave(v)),
        }
    }
}

impl Thing {
    fn draw(class: u32, classes: u32, main: bool, draw: &mut SplitMix64) -> Self {
        let reach = if main { 0.35 } else { 0.95 };
        let radius = if main { draw.between(0.45, 0.85) } else { draw.between(0.15, 0.50) };
        let flatness = draw.between(0.65, 1.0);
        let hue = class as f32 / classes as f32 + draw.between(-0.3, 0.3) / classes as f32;
        let (x, y) = (draw.between(-0.7, 0.7), draw.between(-0.7, 0.7));
        let length = (1.0 + x * x + y * y).sqrt();
        let cosine = (1.0 + x) / length / 1.8;
        let (dark, bright) = (draw.between(0.20, 0.40), draw.between(0.75, 1.0));
        Self {
            centre: (draw.between(-reach, reach), draw.between(-reach, reach)),
            radius: (radius, radius * flatness),
            tilt: unit_vector(cosine, y),
            bend: draw.between(0.05, 0.35),
            edge: draw.between(0.015, 0.10),
            texture: Texture::ALL[class as usize % Texture::ALL.len()],
            repeats: draw.between(2.5, 4.5),
            colours: [
                from_hue(hue, draw.between(0.45, 0.8), dark),
                from_hue(hue, draw.between(0.35, 0.7), bright),
            ],
        }
    }

    /// How much of the pixel the thing covers, 0..=1, and how brightly its surface is lit there.
    fn cover_at(&self, place: (f32, f32), broad: f32, light: (f32, f32)) -> (f32, f32) {
        let (u, v) = self.turned(place);
        let (u, v) = (u / self.radius.0, v / self.radius.1);
        let distance = u * u + v * v + self.bend * broad;
        let cover = 1.0 - smoothstep((distance - 1.0) / self.edge + 0.5);
        let lit = 0.85 + 0.45 * (u * light.0 + v * light.1) - 0.25 * distance;
        (cover, lit)
    }

    fn colour_at(&self, place: (f32, f32), broad: f32, lit: f32) -> Colour {
        let (u, v) = self.turned(place);
        let bent = (u * self.repeats + 0.35 * broad, v * self.repeats - 0.25 * broad);
        let value = self.texture.value_at(bent);
        mixed(self.colours[0], self.colours[1], value).map(|part| part * lit)
    }

    fn turned(&self, (x, y): (f32, f32)) -> (f32, f32) {
        let (x, y) = (x - self.centre.0, y - self.centre.1);
        (x * self.tilt.0 + y * self.tilt.1, y * self.tilt.0 - x * self.tilt.1)
    }
}

fn unit_vector(x: f32, y: f32) -> (f32, f32) {
    let length = (x * x + y * y).sqrt().max(1e-3);
    (x / length, y / length)
}

fn mixed(from: Colour, to: Colour, share: f32) -> Colour {
    let share = share.clamp(0.0, 1.0);
    std::array::from_fn(|i| from[i] + (to[i] - from[i]) * share)
}

/// A colour of little saturation, as skies and ground have, with hue and brightness from the two ranges.
fn muted(draw: &mut SplitMix64, hue: (f32, f32), brightness: (f32, f32)) -> Colour {
    let (hue, saturation) = (draw.between(hue.0, hue.1), draw.between(0.05, 0.35));
    from_hue(hue, saturation, draw.between(brightness.0, brightness.1))
}

/// HSV to RGB, the hue in turns of the circle.
fn from_hue(hue: f32, saturation: f32, value: f32) -> Colour {
    [0.0, 4.0, 2.0].map(|third: f32| {
        let sixths = (hue - hue.floor()) * 6.0 + third;
        let around = sixths - (sixths / 6.0).floor() * 6.0;
        let part = ((around - 3.0).abs() - 1.0).clamp(0.0, 1.0);
        value * (1.0 - saturation * (1.0 - part))
    })
}
