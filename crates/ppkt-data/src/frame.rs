//! From one scene to its part of a batch: link, thin, augment, voxelise.

use ppkt_geometry::Voxels;
use rand_chacha::ChaCha8Rng;

use crate::augment::ImageMap;
use crate::batch::{Batch, BatchConfig, Pair, PointFeature};
use crate::link::{Link, link};
use crate::random::{Purpose, stream, subset};
use crate::{Cloud, DataError, Scene, View};

/// The random numbers of one frame at one place in the order.
pub(crate) struct Draws {
    image: ChaCha8Rng,
    cloud: ChaCha8Rng,
    thinning: ChaCha8Rng,
}

impl Draws {
    pub(crate) fn new(seed: u64, item: u64) -> Self {
        let of = |purpose| stream(seed, purpose, item);
        Self { image: of(Purpose::Image), cloud: of(Purpose::Cloud), thinning: of(Purpose::Thinning) }
    }
}

/// Where the points of a frame's pairs are, for pictures of clouds.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SeenPoints {
    /// Position of the point of each pair in the world of the scene, metres.
    pub positions: Vec<[f32; 3]>,
    /// Where the first photograph was taken from.
    pub viewpoint: Option<[f32; 3]>,
}

/// A batch of one frame, numbered from zero.
pub(crate) fn prepare(scene: Scene, config: &BatchConfig, draws: Draws) -> Result<Batch, DataError> {
    prepare_and_place(scene, config, draws, drop)
}

/// A batch of one frame, numbered from zero; `place` is told where the point of each of its pairs is, before the cloud
/// is augmented, and from where the first photograph was taken.
pub(crate) fn prepare_and_place(
    scene: Scene,
    config: &BatchConfig,
    mut draws: Draws,
    place: impl FnOnce(SeenPoints),
) -> Result<Batch, DataError> {
    check_scene(&scene)?;
    if scene.views.is_empty() {
        return Err(DataError::NoPhotographs { data: scene.name });
    }
    check_features(&scene, &config.features)?;
    let n_read = scene.cloud.points.len();
    let links = link(&scene, &config.link);
    let Scene { name, cloud, views } = scene;
    let mut frame = Linked { cloud, links };
    frame.drop_far(&views, config.max_depth_m);
    if config.max_points > 0 && frame.cloud.points.len() > config.max_points {
        frame.keep(&subset(&mut draws.thinning, frame.cloud.points.len(), config.max_points));
    }
    frame.drop_at_random(views.len(), config, &mut draws.cloud);

    let mut part = Batch { channels: config.channels(), frames: vec![name.clone()], ..Batch::default() };
    frame.picture(&views, config, &mut draws.image, &mut part);
    if part.pairs.is_empty() {
        let problem = format!("no pixel sees any of the {n_read} points within {} m", config.max_depth_m);
        return Err(DataError::NoPoints { frame: name, problem });
    }
    if config.max_pairs > 0 && part.pairs.len() > config.max_pairs {
        let kept = subset(&mut draws.thinning, part.pairs.len(), config.max_pairs);
        part.pairs = kept.iter().map(|&i| part.pairs[i as usize]).collect();
    }

    // Until the end a pair names its point.
    let viewpoint = views.first().map(|view| view.world_from_camera.translation());
    place(SeenPoints {
        positions: part.pairs.iter().map(|pair| frame.cloud.points[pair.voxel as usize]).collect(),
        viewpoint: viewpoint.map(|t| [t.x as f32, t.y as f32, t.z as f32]),
    });
    config.augment3d.apply(&mut frame.cloud, &mut draws.cloud);
    let voxels = config
        .voxels()
        .voxels(&frame.cloud.points)
        .map_err(|e| DataError::BadScene { frame: name, problem: format!("{e}; is it in metres?") })?;
    part.coords = voxels.coords.iter().map(|&[x, y, z]| [0, x, y, z]).collect();
    part.features = features(&frame.cloud, &config.features, &voxels);
    part.n_points = frame.cloud.points.len();
    part.pairs.iter_mut().for_each(|pair| pair.voxel = voxels.voxel_of_point[pair.voxel as usize]);
    Ok(part)
}

/// The points that are not farther than `most_m` from every camera, ascending, or `None` if none is. A point that is
/// not finite is far from everything.
pub(crate) fn near_points(points: &[[f32; 3]], views: &[View], most_m: f32) -> Option<Vec<u32>> {
    let centres: Vec<[f32; 3]> = views
        .iter()
        .map(|view| view.world_from_camera.translation())
        .map(|t| [t.x as f32, t.y as f32, t.z as f32])
        .collect();
    let squared = |p: &[f32; 3], c: &[f32; 3]| (0..3).map(|k| (p[k] - c[k]) * (p[k] - c[k])).sum::<f32>();
    let near = |p: &[f32; 3]| centres.iter().any(|c| squared(p, c) <= most_m * most_m);
    let all = points.iter().all(near);
    (!all).then(|| (0..points.len() as u32).filter(|&i| near(&points[i as usize])).collect())
}

/// A cloud and the pixels that see its points, thinned together.
struct Linked {
    cloud: Cloud,
    links: Vec<Link>,
}

impl Linked {
    /// Keeps the points listed, ascending, and their links.
    fn keep(&mut self, kept: &[u32]) {
        const GONE: u32 = u32::MAX;
        let mut new_row = vec![GONE; self.cloud.points.len()];
        kept.iter().enumerate().for_each(|(new, &old)| new_row[old as usize] = new as u32);
        self.cloud.keep(kept);
        self.links.retain_mut(|link| {
            link.point = new_row[link.point as usize];
            link.point != GONE
        });
    }

    /// Drops points that are farther than `most_m` from every camera, and points that are not finite.
    fn drop_far(&mut self, views: &[View], most_m: f32) {
        if let Some(kept) = near_points(&self.cloud.points, views, most_m) {
            self.keep(&kept);
        }
    }

    fn drop_at_random(&mut self, n_views: usize, config: &BatchConfig, rng: &mut ChaCha8Rng) {
        let count = |stays: &dyn Fn(u32) -> bool| {
            let mut pairs = vec![0usize; n_views];
            self.links.iter().filter(|l| stays(l.point)).for_each(|l| pairs[l.view as usize] += 1);
            pairs
        };
        let before = count(&|_| true);
        let enough = |stays: &[bool]| {
            let after = count(&|point| stays[point as usize]);
            after.iter().zip(&before).all(|(&left, &had)| left >= config.augment2d.enough_pairs(had))
        };
        if let Some(kept) = config.augment3d.draw_kept(&self.cloud.points, enough, rng) {
            self.keep(&kept);
        }
    }

    /// Augments the photographs and appends them with their pairs; a pair names its point for now.
    fn picture(&self, views: &[View], config: &BatchConfig, rng: &mut ChaCha8Rng, part: &mut Batch) {
        // Links are sorted by view.
        let mut rest = self.links.as_slice();
        for (view_idx, view) in views.iter().enumerate() {
            let (own, others) = rest.split_at(rest.partition_point(|l| l.view as usize <= view_idx));
            rest = others;
            let (width, height) = view.image.dimensions();
            let pixels = own.iter().map(|l| (l.u, l.v));
            let map = config.augment2d.draw_map([width, height], config.image_size, pixels, rng);
            let shown =
                if config.plain_images { ImageMap::whole([width, height], config.image_size) } else { map };
            let mut image = shown.image(&view.image);
            if !config.plain_images {
                config.augment2d.recolour(&mut image, rng);
            }
            part.images.push(image);
            part.frame_of_image.push(0);
            part.pairs.extend(own.iter().filter_map(|l| {
                // Only what lies in the part that was drawn, at its place in the image as it is shown.
                map.pixel(l.u, l.v)?;
                let (u, v) = shown.pixel(l.u, l.v)?;
                Some(Pair { view: view_idx as u32, u, v, voxel: l.point })
            }));
        }
    }
}

/// Refuses what would make pairs wrong or an index run over: a reader that breaks its promise.
pub(crate) fn check_scene(scene: &Scene) -> Result<(), DataError> {
    let Cloud { points, colours, intensity, classes } = &scene.cloud;
    let bad = |problem: String| Err(DataError::BadScene { frame: scene.name.clone(), problem });
    let optional = [intensity.as_ref().map(Vec::len), classes.as_ref().map(Vec::len)];
    if colours.len() != points.len() || optional.into_iter().flatten().any(|n| n != points.len()) {
        let n = points.len();
        return bad(format!("it has {n} points, but {} colours (or classes, or intensities)", colours.len()));
    }
    for (i, view) in scene.views.iter().enumerate() {
        let (image, camera) = (view.image.dimensions(), (view.camera.width(), view.camera.height()));
        if image != camera {
            return bad(format!("photograph {i} is {image:?} pixels, but its camera {camera:?}"));
        }
        let depth = view.depth.as_ref().map(|d| (d.width(), d.height()));
        if depth.is_some_and(|d| d != image) {
            return bad(format!("photograph {i} is {image:?} pixels, but its depth {depth:?}"));
        }
    }
    Ok(())
}

/// Refuses features that the data does not have: no other frame would have them either.
pub(crate) fn check_features(scene: &Scene, wanted: &[PointFeature]) -> Result<(), DataError> {
    let absent = wanted.contains(&PointFeature::Intensity) && scene.cloud.intensity.is_none();
    crate::setting::require(
        !absent,
        "features",
        &wanted,
        &format!("without intensity, which frame {} was not measured with", scene.name),
    )
}

/// Features of the voxels: each the mean over its points.
pub(crate) fn features(cloud: &Cloud, wanted: &[PointFeature], voxels: &Voxels) -> Vec<f32> {
    let (low, high) = crate::augment::bounds(&cloud.points);
    let middle = [0, 1, 2].map(|c| 0.5 * (low[c] + high[c]));
    let channels = wanted.iter().map(|f| f.channels()).sum();
    let mut rows = Vec::with_capacity(cloud.points.len() * channels);
    let intensity = cloud.intensity.as_deref().unwrap_or_default();
    for (i, (point, colour)) in cloud.points.iter().zip(&cloud.colours).enumerate() {
        for feature in wanted {
            match feature {
                PointFeature::Rgb => rows.extend(colour.map(|c| c - 0.5)),
                PointFeature::Ones => rows.push(1.0),
                PointFeature::Xyz => rows.extend([0, 1, 2].map(|c| point[c] - middle[c])),
                PointFeature::Height => rows.push(point[2] - low[2]),
                PointFeature::Intensity => rows.push(intensity[i]),
            }
        }
    }
    voxels.mean(&rows, channels)
}
