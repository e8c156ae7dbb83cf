//! Augmentation of a photograph: mirrored, cut, resized and recoloured; pairs follow by the same map.

use image::RgbImage;
use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use super::colour::{ColourMap, mean};
use super::resample::ImageMap;
use crate::random::{chance, uniform};
use crate::{DataError, setting};

/// What is done to each photograph before it is resized to the batch's image size.
///
/// The default is what PPKT names: mirroring, and a random part resized. The photograph is cut at random, so a pair
/// whose pixel falls outside is lost; a cut that keeps too few pairs is drawn again.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Augment2d {
    /// Probability of mirroring left to right.
    pub flip: f32,
    /// Range of the share of the photograph's area that is kept; 1 to 1 keeps all of it.
    pub crop_area: [f32; 2],
    /// Range of the width over the height of the part that is kept, relative to the photograph's own; at 1 the part
    /// is resized without stretching it more than the whole would be.
    pub crop_aspect: [f32; 2],
    /// How often a part with too few pairs is drawn again before the whole photograph is taken instead.
    pub crop_attempts: u32,
    /// A part is kept if this many pairs of the view lie in it …
    pub min_pairs: u32,
    /// … or this share of them.
    pub min_pairs_share: f32,
    /// What is done to its colours.
    pub colour: ColourJitter,
}

/// Random changes of a photograph's colours, in the order listed; none by default. The teacher sees the changed
/// photograph, so strong changes alter what is taught.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ColourJitter {
    /// Probability of changing brightness, contrast, saturation and hue at all.
    pub probability: f32,
    /// Brightness is multiplied by 1 minus to 1 plus this.
    pub brightness: f32,
    /// The distance from the mean grey is multiplied by 1 minus to 1 plus this.
    pub contrast: f32,
    /// The distance of a pixel from its own grey is multiplied by 1 minus to 1 plus this.
    pub saturation: f32,
    /// Hues are turned by at most this share of the full circle, either way.
    pub hue: f32,
    /// Probability of a grey picture.
    pub greyscale: f32,
}

impl Default for Augment2d {
    fn default() -> Self {
        Self { flip: 0.5, crop_area: [0.5, 1.0], crop_aspect: [0.85, 1.18], ..Self::none() }
    }
}

impl ColourJitter {
    /// Whether there is any change that it may make.
    pub(crate) fn changes_any(&self) -> bool {
        let jitter =
            [self.brightness, self.contrast, self.saturation, self.hue].iter().any(|most| *most > 0.0);
        (jitter && self.probability > 0.0) || self.greyscale > 0.0
    }
}

impl Default for ColourJitter {
    fn default() -> Self {
        Self { probability: 1.0, brightness: 0.0, contrast: 0.0, saturation: 0.0, hue: 0.0, greyscale: 0.0 }
    }
}

impl Augment2d {
    /// Resizes only: for validation.
    pub fn none() -> Self {
        Self {
            flip: 0.0,
            crop_area: [1.0; 2],
            crop_aspect: [1.0; 2],
            crop_attempts: 10,
            min_pairs: 1024,
            min_pairs_share: 0.75,
            colour: ColourJitter::default(),
        }
    }

    /// # Errors
    /// If a value cannot be meant.
    pub(crate) fn check(&self) -> Result<(), DataError> {
        use setting::{range, share};
        share("augment2d.flip", self.flip)?;
        range("augment2d.crop_area", self.crop_area, [f32::MIN_POSITIVE, 1.0])?;
        range("augment2d.crop_aspect", self.crop_aspect, [f32::MIN_POSITIVE, f32::INFINITY])?;
        share("augment2d.min_pairs_share", self.min_pairs_share)?;
        share("augment2d.colour.probability", self.colour.probability)?;
        share("augment2d.colour.brightness", self.colour.brightness)?;
        share("augment2d.colour.contrast", self.colour.contrast)?;
        share("augment2d.colour.saturation", self.colour.saturation)?;
        setting::range("augment2d.colour.hue", [self.colour.hue; 2], [0.0, 0.5])?;
        share("augment2d.colour.greyscale", self.colour.greyscale)
    }

    /// A map for a photograph of `size` (width, height) whose pairs lie at `pixels`.
    pub(crate) fn draw_map(
        &self,
        size: [u32; 2],
        out: [u32; 2],
        pixels: impl Iterator<Item = (f32, f32)> + Clone,
        rng: &mut ChaCha8Rng,
    ) -> ImageMap {
        let whole = ImageMap { mirrored: chance(rng, self.flip), ..ImageMap::whole(size, out) };
        if self.crop_area[0] == 1.0 && self.crop_aspect == [1.0; 2] {
            return whole;
        }
        let enough = self.enough_pairs(pixels.clone().count());
        for _ in 0..=self.crop_attempts {
            let part = self.draw_part(whole, rng);
            let kept = pixels.clone().filter(|&(u, v)| part.pixel(u, v).is_some()).take(enough).count();
            if kept >= enough {
                return part;
            }
        }
        whole
    }

    /// How many of a view's pairs a cut must leave: `min_pairs`, or their share where that is fewer, and at least one.
    pub(crate) fn enough_pairs(&self, n_pairs: usize) -> usize {
        let share = (n_pairs as f64 * f64::from(self.min_pairs_share)).ceil() as usize;
        share.min(self.min_pairs as usize).max(1).min(n_pairs)
    }

    fn draw_part(&self, whole: ImageMap, rng: &mut ChaCha8Rng) -> ImageMap {
        let area = f64::from(uniform(rng, self.crop_area));
        // Uniform in the logarithm, so that wide and tall parts are equally likely.
        let aspect = f64::from(uniform(rng, self.crop_aspect.map(f32::ln)).exp());
        // At least a pixel, so that the resize has something to enlarge.
        let width = (whole.width * (area * aspect).sqrt()).clamp(1.0f64.min(whole.width), whole.width);
        let height = (whole.height * (area / aspect).sqrt()).clamp(1.0f64.min(whole.height), whole.height);
        let left = (whole.width - width) * f64::from(rng.random::<f32>());
        let top = (whole.height - height) * f64::from(rng.random::<f32>());
        ImageMap { left, top, width, height, ..whole }
    }

    /// Changes the colours of a photograph.
    pub(crate) fn recolour(&self, image: &mut RgbImage, rng: &mut ChaCha8Rng) {
        let jitter = &self.colour;
        let mut around = |centre: f32, most: f32| uniform(rng, [centre - most, centre + most]);
        let [brightness, contrast, saturation] =
            [jitter.brightness, jitter.contrast, jitter.saturation].map(|most| around(1.0, most));
        let hue = around(0.0, jitter.hue);
        let mut map = ColourMap::IDENTITY;
        if chance(rng, jitter.probability) {
            if jitter.brightness > 0.0 {
                map = map.brightness(brightness);
            }
            if jitter.contrast > 0.0 {
                map = map.contrast(contrast, mean(image));
            }
            if jitter.saturation > 0.0 {
                map = map.saturation(saturation);
            }
            if jitter.hue > 0.0 {
                map = map.hue(hue);
            }
        }
        if chance(rng, jitter.greyscale) {
            map = map.saturation(0.0);
        }
        map.paint(image);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::{Purpose, stream};

    fn corner_pixels() -> Vec<(f32, f32)> {
        (0..100).map(|i| ((i % 10) as f32 + 0.5, (i / 10) as f32 + 0.5)).collect()
    }

    #[test]
    fn without_augmentation_the_whole_image_is_resized() {
        let mut rng = stream(1, Purpose::Image, 0);
        let map = Augment2d::none().draw_map([640, 480], [320, 240], corner_pixels().into_iter(), &mut rng);
        assert_eq!(map, ImageMap::whole([640, 480], [320, 240]));
    }

    #[test]
    fn parts_lie_inside_and_have_the_area_asked_for() {
        let augment = Augment2d { min_pairs: 0, crop_area: [0.3, 0.6], ..Augment2d::default() };
        let mut rng = stream(2, Purpose::Image, 0);
        for _ in 0..500 {
            let map = augment.draw_map([640, 480], [320, 240], std::iter::empty(), &mut rng);
            assert!(map.left >= 0.0 && map.left + map.width <= 640.0 + 1e-9);
            assert!(map.top >= 0.0 && map.top + map.height <= 480.0 + 1e-9);
            let area = map.width * map.height / (640.0 * 480.0);
            assert!((0.299..0.601).contains(&area), "{area}");
            let aspect = map.width / map.height / (640.0 / 480.0);
            assert!((0.84..1.19).contains(&aspect), "{aspect}");
        }
    }

    #[test]
    fn parts_with_too_few_pairs_give_way_to_the_whole() {
        // All pairs lie in one corner, and a part of a hundredth of the area hardly ever holds three quarters of them.
        let augment = Augment2d { crop_area: [0.01, 0.01], flip: 0.0, ..Augment2d::default() };
        let (mut wholes, mut kept_enough) = (0, 0);
        for item in 0..200 {
            let mut rng = stream(3, Purpose::Image, item);
            let map = augment.draw_map([640, 480], [64, 64], corner_pixels().into_iter(), &mut rng);
            let kept = corner_pixels().into_iter().filter(|&(u, v)| map.pixel(u, v).is_some()).count();
            assert!(kept >= 75, "{kept}");
            if map == ImageMap::whole([640, 480], [64, 64]) { wholes += 1 } else { kept_enough += 1 }
        }
        assert!(wholes > 150, "{wholes} whole, {kept_enough} parts");
    }

    #[test]
    fn both_mirrorings_are_drawn() {
        let mut rng = stream(4, Purpose::Image, 0);
        let maps =
            (0..200).map(|_| Augment2d::default().draw_map([64, 64], [32, 32], std::iter::empty(), &mut rng));
        let mirrored = maps.filter(|m| m.mirrored).count();
        assert!((70..130).contains(&mirrored), "{mirrored}");
    }

    #[test]
    fn no_colour_jitter_changes_no_byte_and_some_does() {
        let image = RgbImage::from_fn(8, 8, |x, y| image::Rgb([x as u8 * 30, y as u8 * 30, 100]));
        let mut same = image.clone();
        Augment2d::default().recolour(&mut same, &mut stream(5, Purpose::Image, 0));
        assert_eq!(same, image);
        let colour =
            ColourJitter { brightness: 0.4, contrast: 0.4, saturation: 0.4, hue: 0.1, ..Default::default() };
        let augment = Augment2d { colour, ..Augment2d::none() };
        augment.recolour(&mut same, &mut stream(5, Purpose::Image, 0));
        assert_ne!(same, image);
        let grey =
            Augment2d { colour: ColourJitter { greyscale: 1.0, ..Default::default() }, ..Augment2d::none() };
        grey.recolour(&mut same, &mut stream(5, Purpose::Image, 0));
        assert!(same.pixels().all(|p| p.0[0].abs_diff(p.0[1]) <= 1 && p.0[1].abs_diff(p.0[2]) <= 1));
    }

    #[test]
    fn impossible_values_are_named() {
        let wrong = Augment2d { crop_area: [0.9, 0.5], ..Augment2d::none() };
        assert!(wrong.check().unwrap_err().to_string().contains("augment2d.crop_area"));
        let wrong = Augment2d { flip: f32::NAN, ..Augment2d::none() };
        assert!(wrong.check().unwrap_err().to_string().contains("augment2d.flip"));
        Augment2d::default().check().unwrap();
    }
}
