"""Every image mode becomes RGB as torchvision would have it; every bad file is found in one pass."""
import pickle

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torchvision.transforms.v2 import functional as vision

from mprd_pyg.data import DataCard, ImageStore, check_images, find_unreadable, make_table, read_image
from mprd_pyg.data.images import open_rgb


def picture(height=20, width=10, seed=0):
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8))


def table(root, names, **kwargs):
    frame = make_table((name, i, 1, "train") for i, name in enumerate(names))
    frame.attrs.update(root=str(root), card="own")
    return frame


@pytest.fixture
def folder(tmp_path):
    """Four images, of which one has zero bytes, one is cut short, one is text, and one is not there."""
    for i, name in enumerate(("a.png", "c.png", "e.png")):
        picture(seed=i).save(tmp_path / name)
    (tmp_path / "b.jpg").write_bytes(b"")
    picture(200, 100).save(tmp_path / "whole.jpg")
    (tmp_path / "d.jpg").write_bytes((tmp_path / "whole.jpg").read_bytes()[:3000])
    (tmp_path / "f.jpg").write_text("<html>404</html>")
    return tmp_path


NAMES = ["a.png", "b.jpg", "c.png", "d.jpg", "e.png", "f.jpg", "g.jpg"]


@settings(deadline=None, max_examples=30)
@given(st.tuples(st.integers(1, 60), st.integers(1, 60)), st.tuples(st.integers(1, 60), st.integers(1, 60)))
def test_read_image_equals_torchvision(tmp_path_factory, shape, size):
    path = tmp_path_factory.mktemp("images") / "x.png"
    image = picture(*shape)
    image.save(path)
    expected = vision.pil_to_tensor(vision.resize(image, list(size), antialias=True))
    found = read_image(path, size)
    assert found.dtype == torch.uint8 and found.shape == (3, *size) and found.is_contiguous()
    assert torch.equal(found, expected)


def test_jpeg_inside_a_png_name_just_works(tmp_path):
    picture().save(tmp_path / "x.jpg", quality=90)
    (tmp_path / "x.png").write_bytes((tmp_path / "x.jpg").read_bytes())
    assert torch.equal(read_image(tmp_path / "x.png", (20, 10)), read_image(tmp_path / "x.jpg", (20, 10)))
    assert find_unreadable(table(tmp_path, ["x.png"])) == []


def test_greyscale_palette_alpha_and_cmyk(tmp_path):
    image = picture()
    grey = image.convert("L")
    grey.save(tmp_path / "grey.png")
    image.convert("P").save(tmp_path / "palette.png", transparency=bytes(range(256)))
    image.convert("RGBA").save(tmp_path / "alpha.png")
    image.convert("CMYK").save(tmp_path / "cmyk.tif")
    image.convert("1").save(tmp_path / "bits.png")
    pixels = {path.stem: np.asarray(open_rgb(path)) for path in tmp_path.iterdir()}
    assert all(value.shape == (20, 10, 3) for value in pixels.values())
    assert (pixels["grey"] == np.asarray(grey)[..., None]).all()
    assert (pixels["palette"] == np.asarray(image.convert("P").convert("RGB"))).all()
    assert (pixels["alpha"] == np.asarray(image)).all()
    assert abs(pixels["cmyk"].astype(int) - np.asarray(image)).max() <= 2
    assert set(np.unique(pixels["bits"])) <= {0, 255}


@pytest.mark.parametrize("name", ["x.png", "x.tif"])
def test_16_bit_keeps_its_upper_8_bits(tmp_path, name):
    values = np.arange(0, 65536, 331, dtype=np.uint16)[:198].reshape(18, 11)
    Image.fromarray(values).save(tmp_path / name)
    assert (np.asarray(open_rgb(tmp_path / name)) == (values >> 8)[..., None]).all()


def test_32_bit_integers_in_8_bit_range_stay(tmp_path):
    values = np.arange(200, dtype=np.int32).reshape(20, 10)
    Image.fromarray(values).save(tmp_path / "x.tif")
    assert (np.asarray(open_rgb(tmp_path / "x.tif")) == values[..., None]).all()


def test_exif_orientation_turns_the_image_upright(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6        # to be turned clockwise by 90 degrees
    picture(20, 10).save(tmp_path / "x.png", exif=exif)
    assert (np.asarray(open_rgb(tmp_path / "x.png")) == np.rot90(np.asarray(picture(20, 10)), -1)).all()


def test_unreadable_images_are_all_found_in_one_pass(folder):
    bad = find_unreadable(table(folder, NAMES), folder, workers=3)
    assert [path for path, _ in bad] == ["b.jpg", "d.jpg", "f.jpg", "g.jpg"]
    reasons = dict(bad)
    assert "zero bytes" in reasons["b.jpg"] and "truncated" in reasons["d.jpg"]
    assert "cannot identify" in reasons["f.jpg"] and "does not exist" in reasons["g.jpg"]


def test_check_images_raises_one_error_or_leaves_them_out(folder):
    frame = table(folder, NAMES)
    with pytest.raises(ValueError) as error:
        check_images(frame)
    for text in ("4 of 7 images cannot be read", "b.jpg: ", "g.jpg: ", "--data.skip_unreadable true"):
        assert text in str(error.value)
    rest = check_images(frame, skip_unreadable=True)
    assert rest["path"].tolist() == ["a.png", "c.png", "e.png"] and rest["person_id"].tolist() == [0, 2, 4]
    assert rest.attrs["skipped_unreadable"] == ["b.jpg", "d.jpg", "f.jpg", "g.jpg"]
    assert rest.attrs["card"] == "own" and "skipped_unreadable" not in frame.attrs
    assert check_images(rest) is rest
    with pytest.raises(ValueError, match="None is left"):
        check_images(table(folder, ["b.jpg", "d.jpg"]), skip_unreadable=True)


def test_check_images_lists_the_first_twenty(tmp_path):
    frame = table(tmp_path, [f"{i:02d}.jpg" for i in range(25)])
    with pytest.raises(ValueError) as error:
        check_images(frame)
    text = str(error.value)
    assert "25 of 25" in text and "19.jpg: " in text and "20.jpg" not in text and "and 5 more" in text


def test_a_scanned_table_is_checked_without_further_arguments(tmp_path):
    (tmp_path / "train").mkdir()
    picture().save(tmp_path / "train" / "1_c1.png")
    (tmp_path / "train" / "2_c1.png").write_bytes(b"")
    frame = DataCard.load("folder").scan(tmp_path)
    assert find_unreadable(frame) == [("train/2_c1.png", "the file has zero bytes")]


@pytest.mark.parametrize("name, error", [("b.jpg", ValueError), ("d.jpg", ValueError),
                                         ("g.jpg", FileNotFoundError)])
def test_reading_a_bad_file_names_it(folder, name, error):
    with pytest.raises(error, match=name):
        read_image(folder / name, (4, 4))


@pytest.mark.parametrize("in_memory", [True, False, "auto"])
def test_the_store_reads_rows_and_gives_copies(folder, in_memory):
    store = ImageStore(table(folder, ["a.png", "c.png", "e.png"]), folder, size=(8, 4), in_memory=in_memory)
    assert len(store) == 3
    expected = [read_image(folder / name, (8, 4)) for name in ("a.png", "c.png", "e.png")]
    for _ in range(2):
        for i in (1, 0, -1):
            assert torch.equal(store[i], expected[i])
            store[i].zero_()
    assert torch.equal(store[torch.tensor(1)], expected[1])
    with pytest.raises(IndexError):
        store[3]


def test_the_store_keeps_what_it_has_read_only_when_it_fits(folder):
    frame, size = table(folder, ["a.png", "c.png"]), (8, 4)
    num_bytes = 2 * 3 * 8 * 4
    stores = {"fits": ImageStore(frame, size=size, limit=num_bytes),
              "not": ImageStore(frame, size=size, limit=num_bytes - 1)}
    assert stores["fits"].in_memory and not stores["not"].in_memory
    expected = {name: store[0] for name, store in stores.items()}["fits"]
    (folder / "a.png").unlink()
    assert torch.equal(stores["fits"][0], expected)
    with pytest.raises(FileNotFoundError):
        stores["not"][0]
    (folder / "c.png").unlink()
    with pytest.raises(FileNotFoundError):      # never read, so never kept
        stores["fits"][1]


def test_a_pickled_store_is_small_and_reads_the_same(folder):
    store = ImageStore(table(folder, ["a.png", "c.png"]), size=(256, 128))
    expected = store[0]
    data = pickle.dumps(store)
    assert len(data) < 10_000 and torch.equal(pickle.loads(data)[0], expected)


def test_the_store_serves_a_data_loader_with_workers(folder):
    store = ImageStore(table(folder, ["a.png", "c.png", "e.png"]), size=(8, 4))
    loader = torch.utils.data.DataLoader(store, batch_size=2, num_workers=1)
    batches = list(loader)
    assert torch.equal(torch.cat(batches), torch.stack([store[i] for i in range(3)]))


@pytest.mark.parametrize("kwargs, message", [({"size": (8, 0)}, "size must be two"),
                                             ({"size": (8,)}, "size must be two"),
                                             ({"in_memory": "yes"}, "in_memory must be")])
def test_bad_store_arguments(folder, kwargs, message):
    with pytest.raises(ValueError, match=message):
        ImageStore(table(folder, ["a.png"]), **kwargs)
