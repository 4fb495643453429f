"""What all tests share: seeded random generators, small drawn pedestrians, small copies of the published datasets."""
import colorsys
import functools
import os
import random
from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import settings
from PIL import Image
from scipy.io import savemat

# Before torch is imported: one thread is fastest for images this small, and threads that spin would starve the others.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
# The same examples in every run; how long one takes is the machine's affair.
settings.register_profile("any machine", deadline=None, derandomize=True)
settings.load_profile("any machine")


def pytest_runtest_setup(item):
    """Seed every global generator before a test and before the fixtures that it is the first to ask for."""
    import torch  # after the variables above are set
    random.seed(0)
    np.random.seed(0)
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def pedestrians(tmp_path_factory):
    """``pedestrians(identities=(6, 4))`` draws a tiny dataset, once for all who ask for it; not to be changed."""
    from mprd_pyg.data import write_synthetic

    @functools.cache
    def draw(**options):
        small = {"cameras": 2, "images_per_camera": 2, "height": 48, "width": 24, "distractors": 0, "junk": 0}
        return write_synthetic(tmp_path_factory.mktemp("pedestrians") / "target", **small | options)
    return draw


def picture(person, camera, number, height=48, width=24):
    """(H, W, 3) uint8: a colour per person, a tint per camera, noise per image."""
    rng = np.random.default_rng([abs(hash_of(person)), camera, number])
    colour = 255 * np.array(colorsys.hsv_to_rgb(hash_of(person) % 97 / 97, 0.8, 0.7))
    pixels = np.full((height, width, 3), colour) * (1 - 0.1 * (camera % 3))
    pixels[: height // 2, :, camera % 3] += 40
    return (pixels + rng.normal(0, 12, pixels.shape)).clip(0, 255).astype(np.uint8)


def hash_of(person):
    return sum(31 * (i + 1) * ord(letter) for i, letter in enumerate(str(person)))


def write(root, path, person, camera, number=0):
    (root / path).parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(picture(person, camera, number)).save(root / path)


def market1501(root):
    def name(person, camera, number):
        return f"{person:04d}_c{camera}s1_{100 * number + 51:06d}_0{number}.jpg" if person >= 0 else \
            f"-1_c{camera}s1_{100 * number + 51:06d}_0{number}.jpg"
    for person in (2, 7, 10, 11):
        for camera, number in ((1, 1), (1, 2), (6, 1), (6, 2)):
            write(root, f"bounding_box_train/{name(person, camera, number)}", person, camera, number)
    for person in (1, 3, 4):
        for camera in (1, 4):
            write(root, f"query/{name(person, camera, 0)}", person, camera, 0)
            write(root, f"bounding_box_test/{name(person, camera, 3)}", person, camera, 3)
    for person, number in ((0, 1), (0, 2), (-1, 1)):
        write(root, f"bounding_box_test/{name(person, 2, number)}", person, 2, number)
    for folder in ("bounding_box_train", "query", "bounding_box_test"):
        (root / folder / "Thumbs.db").write_bytes(b"\xd0\xcf")
    return root


def dukemtmc_reid(root):
    def name(person, camera, frame):
        return f"{person:04d}_c{camera}_f{frame:07d}.jpg"
    for person in (1, 5, 9, 12):
        for camera, frame in ((2, 46182), (2, 46302), (8, 160), (8, 280)):
            write(root, f"bounding_box_train/{name(person, camera, frame)}", person, camera, frame)
    for person in (6, 7, 13):
        for camera in (1, 5):
            write(root, f"query/{name(person, camera, 10)}", person, camera, 10)
            write(root, f"bounding_box_test/{name(person, camera, 20)}", person, camera, 20)
    for person in (7002, 7009):     # distractors: one camera only
        write(root, f"bounding_box_test/{name(person, 3, 30)}", person, 3, 30)
    return root


def msmt17(root, train="train", test="test"):
    lists = {"train": [], "val": [], "query": [], "gallery": []}

    def add(part, folder, person, camera, number, tail=""):
        name = f"{person:04d}/{person:04d}_{number:03d}_{camera:02d}_0303morning_{number:04d}_{camera % 3}{tail}.jpg"
        write(root, f"{folder}/{name}", person + 1041 * (folder == test), camera, number)
        lists[part].append(f"{name} {person}\n")
    for person in range(4):
        add("train", train, person, 1, 0)
        add("train", train, person, 1, 1, "_ex")
        add("train", train, person, 15, 2)
        add("val", train, person, 15, 3)
    for person in range(3):
        for camera in (3, 14):
            add("query", test, person, camera, camera)
            add("gallery", test, person, camera, camera + 1)
    write(root, f"{train}/0001/0001_090_02_0303noon_0001_0.jpg", 1, 2)     # not listed
    write(root, f"{train}/0001/._0001_000_01_0303morning_0000_1.jpg", 1, 1)
    for part, lines in lists.items():
        (root / f"list_{part}.txt").write_text("".join(reversed(lines)))
    return root


def cuhk01(root):
    for person in range(1, 10):
        for number in range(1, 5):
            write(root, f"campus/{person:04d}{number:03d}.png", person, (number + 1) // 2, number)
    return root


def viper(root):
    for person in (0, 1, 2, 5, 7, 11, 20, 21, 30, 41, 100, 111, 300, 512, 800, 872):
        write(root, f"cam_a/{person:03d}_45.bmp", person, 1)
        write(root, f"cam_b/{person:03d}_{90 + 45 * (person % 3)}.bmp", person, 2)
    (root / "README").write_text("two views of each person\n")
    return root


PERSONS = (5, 3, 1)     # of the small cuhk03's three pairs of cameras
TEST_SETS = ([(1, 2), (2, 1), (1, 4)], [(1, 5), (2, 2), (2, 3), (3, 1)])


def cuhk03_images(boxes):
    """(pair, person, image) -> pixels; person 3_001 has the first view only, image sizes differ."""
    return {(pair, person, image): picture(f"{pair}{person}", pair + image // 5, image, 40 + 4 * pair, 20 + image)
            for pair, count in enumerate(PERSONS, start=1) for person in range(1, count + 1)
            for image in ((0, 1, 5, 6) if boxes == "labeled" else (0, 2, 5)) if (pair, image // 5) != (3, 1)}


def write_cuhk03_mat(path, keys=("labeled", "detected", "testsets")):
    """The archive as MATLAB writes it: v7.3, cells are references, every array transposed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w", userblock_size=512) as mat:
        def keep(array, kind, **attributes):
            data = mat.create_dataset(f"#refs#/{len(mat['#refs#']) if '#refs#' in mat else 0}", data=array)
            data.attrs["MATLAB_class"] = np.bytes_(kind)
            data.attrs.update(attributes)
            return data.ref

        def cell(references):
            return keep(np.array(references, dtype=h5py.ref_dtype).T, "cell")
        for boxes in ("labeled", "detected"):
            images, pairs = cuhk03_images(boxes), []
            for pair, count in enumerate(PERSONS, start=1):
                rows = np.empty((count, 10), dtype=h5py.ref_dtype)
                for person in range(count):
                    for image in range(10):
                        pixels = images.get((pair, person + 1, image))
                        rows[person, image] = keep(np.zeros(2, "u8"), "uint8", MATLAB_empty=np.uint8(1)) \
                            if pixels is None else keep(np.ascontiguousarray(pixels.T), "uint8")
                pairs.append([cell(rows)])
            if boxes in keys:
                mat[boxes] = np.array(pairs, dtype=h5py.ref_dtype).T        # 5 x 1 in MATLAB, (1, 5) here
        if "testsets" in keys:
            sets = [[keep(np.array(rows, dtype="f8").T, "double")] for rows in TEST_SETS]
            mat["testsets"] = np.array(sets, dtype=h5py.ref_dtype).T
    with open(path, "r+b") as file:
        file.write(b"MATLAB 7.3 MAT-file, Platform: GLNXA64".ljust(124) + b"\x00\x02IM")
    return path


def write_cuhk03_config(folder, boxes):
    """A configuration of the 767/700 protocol: MATLAB v5, indices from 1; 1_001, 1_003, 2_001, 2_003, 3_001 train."""
    names, labels = [], []
    for pair, person, image in sorted(cuhk03_images(boxes)):
        names.append(f"{pair}_{person:03d}_{1 if image < 5 else 2}_{image + 1:02d}.png")
        labels.append(10 * pair + person)
    train = [i for i, label in enumerate(labels) if label in (11, 13, 21, 23, 31)]
    test = [i for i in range(len(names)) if i not in train]
    query = [i for i in test if names[i].split("_")[3] in ("01.png", "06.png")]
    gallery = [i for i in test if i not in query]
    column = np.array(names, dtype=object).reshape(-1, 1)
    savemat(folder / f"cuhk03_new_protocol_config_{boxes}.mat", {
        "filelist": column, "labels": np.array(labels).reshape(-1, 1), "train_idx": np.array(train).reshape(-1, 1) + 1,
        "query_idx": np.array(query).reshape(-1, 1) + 1, "gallery_idx": np.array(gallery).reshape(-1, 1) + 1})


def cuhk03(root):
    """As it is obtained: the archive and the configurations, nothing extracted."""
    write_cuhk03_mat(root / "cuhk03_release" / "cuhk-03.mat")
    for boxes in ("labeled", "detected"):
        write_cuhk03_config(root, boxes)
    return root


class SmallCopies:
    """Builders, by the names of the cards."""

    builders = {build.__name__: build for build in (market1501, dukemtmc_reid, msmt17, cuhk03, cuhk01, viper)}
    write_mat = staticmethod(write_cuhk03_mat)
    images = staticmethod(cuhk03_images)

    def __call__(self, name: str, root: Path, **options) -> Path:
        root.mkdir(parents=True, exist_ok=True)
        return self.builders[name](root, **options)


@pytest.fixture(scope="session")
def small_copy():
    """``small_copy("market1501", folder)`` writes a small copy of that dataset."""
    return SmallCopies()
