"""Colours against published values, the linear map against its definition, styles drawn by row and by nothing else."""
import numpy as np
import pytest
import torch
from PIL import Image

from mprd_pyg.data import make_table
from mprd_pyg.data.styles.camstyle import find_camstyle, inner_paths, style_columns, style_name
from mprd_pyg.data.styles.colour import bytes_to_lab, lab_to_bytes, rgb_to_lab
from mprd_pyg.data.styles.colour_statistics import CameraStatistics, StyleTransfer
from mprd_pyg.data.styles.random_style import CamStyleImages, StatisticsStyle
from mprd_pyg.data.styles.styled_files import style_sheet, write_styles
from mprd_pyg.data.views import SeededViews, StyledView, load, plain_view


def lab_to_rgb(lab):
    """CIE 1976 and IEC 61966-2-1, written out: (3, ...) to sRGB in 0..1."""
    y = (lab[0] + 16) / 116
    cubes = [torch.where(f > 6 / 29, f**3, 3 * (6 / 29) ** 2 * (f - 4 / 29))
             for f in (y + lab[1] / 500, y, y - lab[2] / 200)]
    to_xyz = torch.tensor([[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750],
                           [0.0193339, 0.1191920, 0.9503041]], dtype=torch.float64)
    xyz = torch.stack([white * cube for white, cube in zip((0.95047, 1.0, 1.08883), cubes, strict=True)]).double()
    linear = torch.einsum("ij,j...->i...", to_xyz.inverse(), xyz).clamp(0, 1)
    return torch.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)


def colour(*rgb):
    return torch.tensor(rgb, dtype=torch.float64).view(3, 1, 1) / 255


@pytest.mark.parametrize("rgb, lab", [      # D65, as tabulated for the sRGB primaries (B. Lindbloom's calculator)
    ((255, 0, 0), (53.24, 80.09, 67.20)), ((0, 255, 0), (87.73, -86.18, 83.18)), ((0, 0, 255), (32.30, 79.19, -107.86)),
    ((255, 255, 255), (100, 0, 0)), ((0, 0, 0), (0, 0, 0)), ((128, 128, 128), (53.59, 0, 0))])
def test_lab_of_known_colours(rgb, lab):
    torch.testing.assert_close(rgb_to_lab(colour(*rgb)).flatten(), torch.tensor(lab, dtype=torch.float64), atol=0.01,
                               rtol=0)


def test_lab_and_back_is_the_image():
    image = torch.randint(256, (2, 3, 9, 7), generator=torch.Generator().manual_seed(0)).double() / 255
    back = torch.stack([lab_to_rgb(one) for one in rgb_to_lab(image)])
    torch.testing.assert_close(back, image, atol=1e-4, rtol=0)


def test_tables_give_the_exact_colours():
    levels = torch.tensor([0, 1, 2, 5, 10, 11, 30, 90, 128, 200, 254, 255])
    image = torch.cartesian_prod(levels, levels, levels).T[:, None].to(torch.uint8)
    exact = rgb_to_lab(image.double() / 255)
    assert (bytes_to_lab(image) - exact)[0].abs().max() < 0.02 and (bytes_to_lab(image) - exact).abs().max() < 0.1
    assert torch.equal(lab_to_bytes(exact), image)
    strange = exact * 1.3 - 5       # many of them outside what a screen shows
    apart = lab_to_bytes(strange).double() - (lab_to_rgb(strange) * 255)
    assert apart.abs().max() < 1


def cameras(height=12, width=6, each=5):
    """Images of cameras 3 and 8: camera 8 is darker, flatter and reddish."""
    g = torch.Generator().manual_seed(0)
    bright = 128 + 40 * torch.randn(each, 3, height, width, generator=g)
    dark = 70 + 15 * torch.randn(each, 3, height, width, generator=g) + torch.tensor([25.0, 0, 0]).view(3, 1, 1)
    return torch.cat([bright, dark]).clamp(0, 255).to(torch.uint8), torch.tensor([3] * each + [8] * each)


def test_the_map_carries_one_cameras_mean_and_covariance_to_the_others():
    images, camera = cameras()
    statistics = CameraStatistics.estimate(images, camera)
    assert statistics.cameras.tolist() == [3, 8] and statistics.images.tolist() == [5, 5]
    pixels = rgb_to_lab(images[:5].double() / 255).transpose(0, 1).flatten(1)
    torch.testing.assert_close(statistics.mean[0], pixels.mean(1))
    torch.testing.assert_close(statistics.covariance[0], torch.cov(pixels, correction=0))
    matrix, offset = statistics.maps()
    for s, t in ((0, 1), (1, 0)):
        moved = matrix[s, t] @ statistics.mean[s] + offset[s, t]
        torch.testing.assert_close(moved, statistics.mean[t])
        torch.testing.assert_close(matrix[s, t], matrix[s, t].T)        # the least displacement: no rotation
        torch.testing.assert_close(matrix[s, t] @ statistics.covariance[s] @ matrix[s, t].T, statistics.covariance[t],
                                   rtol=0.01, atol=0.05)
    torch.testing.assert_close(matrix[1, 1], torch.eye(3, dtype=torch.float64), atol=1e-6, rtol=0)


def test_transfer_brings_the_colours_over_and_leaves_ones_own_camera_alone():
    images, camera = cameras()
    transfer = StyleTransfer(CameraStatistics.estimate(images, camera))
    own = torch.tensor([0] * 5 + [1] * 5)
    assert torch.equal(transfer(images, own, own), images)
    moved = transfer(images[:5], own[:5], own[5:])
    assert moved.dtype == torch.uint8
    torch.testing.assert_close(moved.float().mean((0, 2, 3)), images[5:].float().mean((0, 2, 3)), atol=3, rtol=0)
    # one image alone and in a batch; an image's difference from its camera's average survives
    assert torch.equal(transfer(images[2:3], own[2:3], own[7:8])[0], moved[2])
    lighter = (images[:5].float() + 20).clamp(0, 255).to(torch.uint8)
    assert transfer(lighter, own[:5], own[5:]).float().mean() > moved.float().mean() + 5


def test_a_camera_of_one_grey_can_be_left_and_entered():
    images = torch.cat([torch.full((2, 3, 4, 4), 99, dtype=torch.uint8), cameras(4, 4, 2)[0][:2]])
    transfer = StyleTransfer(CameraStatistics.estimate(images, torch.tensor([0, 0, 1, 1])))
    there, back = torch.tensor([0, 0]), torch.tensor([1, 1])
    assert (transfer(images[2:], back, there).float() - 99).abs().max() < 4
    assert transfer(images[:2], there, back).float().isfinite().all()


def test_statistics_are_kept_and_refused_when_of_something_else(tmp_path):
    statistics = CameraStatistics.estimate(*cameras())
    statistics.save(tmp_path / "s.json", {"seed": 0, "size": (1, 2)})
    again = CameraStatistics.load(tmp_path / "s.json", {"seed": 0, "size": [1, 2]})
    assert all(torch.equal(getattr(statistics, name), getattr(again, name)) for name in vars(statistics))
    assert CameraStatistics.load(tmp_path / "s.json", {"seed": 1, "size": [1, 2]}) is None
    (tmp_path / "s.json").write_text((tmp_path / "s.json").read_text()[:100])
    assert CameraStatistics.load(tmp_path / "s.json", {"seed": 0, "size": [1, 2]}) is None


@pytest.fixture
def disk(tmp_path):
    """The same images as files of a person's folder each, and their table."""
    images, camera = cameras()
    rows = []
    for number, (image, c) in enumerate(zip(images, camera.tolist(), strict=True)):
        path = f"train/{number // 5}/{c}_{number}.png"
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image.permute(1, 2, 0).numpy()).save(tmp_path / path)
        rows.append((path, number // 5, c, "train"))
    frame = make_table(rows)
    frame.attrs.update(root=str(tmp_path), card="own")
    return frame, images, camera


def test_statistics_style_draws_cameras_uniformly_and_by_row_alone():
    images, camera = cameras()
    style = StatisticsStyle(CameraStatistics.estimate(images, camera), camera)
    store = list(images)
    drawn = torch.stack([style.draw(range(10), seed) for seed in range(200)])
    assert 850 < int(drawn.sum()) < 1150                        # 2000 throws of a coin
    assert torch.equal(style.draw([7, 2], 5), drawn[5, [7, 2]])
    views = SeededViews(store, StyledView(plain_view(), style), seed=5)
    alone = torch.stack([views[i][0] for i in range(10)])
    for workers in (0, 2):
        batch = next(load(views, [[4, 9, 0]], workers))
        assert torch.equal(batch[0], alone[[4, 9, 0]])
    changed = [not torch.equal(views[i][0], plain_view()(store[i])) for i in range(10)]
    assert changed == (drawn[5] != torch.tensor([0] * 5 + [1] * 5)).tolist()
    with pytest.raises(ValueError, match=r"knows the cameras \[3, 8\]"):
        StatisticsStyle(CameraStatistics.estimate(images, camera), camera + 1)


def test_written_images_are_found_and_used_as_camstyle_images(disk, tmp_path):
    frame, images, camera = disk
    transfer = StyleTransfer(CameraStatistics.estimate(images, camera))
    out = tmp_path / "bounding_box_train_camstyle"
    assert write_styles(frame, transfer, out, progress=False) == (10, 0)
    assert (out / "0" / "3_0_fake_3to8.jpg").is_file()
    broken, kept = out / "0" / "3_0_fake_3to8.jpg", out / "0" / "3_1_fake_3to8.jpg"
    broken.write_bytes(broken.read_bytes()[:50])
    before = kept.stat().st_mtime_ns
    assert write_styles(frame, transfer, out, progress=False) == (1, 9) and kept.stat().st_mtime_ns == before
    table = find_camstyle(frame, out)
    assert style_columns(table) == ["style_3", "style_8"]
    assert table["style_8"][0] == "0/3_0_fake_3to8.jpg" and table["style_3"][0] == ""

    def open_store(paths):
        return [torch.full((3, 2, 2), number, dtype=torch.uint8) for number in range(len(paths))]
    style = CamStyleImages(table, open_store)
    assert style.num_made == 10 and style.count.tolist() == [2] * 10
    own = [torch.full((3, 2, 2), 100 + i, dtype=torch.uint8) for i in range(10)]
    drawn = torch.stack([style.draw(range(10), seed) for seed in range(200)])
    assert 850 < int((drawn < 0).sum()) < 1150
    expected = torch.where(drawn[3] < 0, 100 + torch.arange(10), torch.arange(10))  # one made image for each
    assert style.read(own, range(10), 3)[:, 0, 0, 0].tolist() == expected.tolist()
    assert style.read(own, [6], 3)[0, 0, 0, 0] == expected[6]


def names(*files):
    def make(folder):
        folder.mkdir()
        for file in files:
            (folder / file).write_bytes(b"x")
        return folder
    return make


def market(cameras=(1, 2, 5)):
    frame = make_table((f"bounding_box_train/000{p}_c{c}s1_000451_03.jpg", p, c, "train") for p in (2, 7)
                       for c in cameras)
    frame.attrs.update(root="unused", card="market1501")
    return frame


def test_published_names_of_market_and_msmt17(tmp_path):
    table = find_camstyle(market(), names("0002_c1s1_000451_03_fake_1to2.jpg", "0002_c1s1_000451_03_fake_1to6.jpg",
                                          "0009_c1s1_000451_03_fake_1to2.jpg", "Thumbs.db")(tmp_path / "m"))
    assert style_columns(table) == ["style_2", "style_6"] and (table["style_6"] != "").sum() == 1
    assert table["style_6"][0] == "0002_c1s1_000451_03_fake_1to6.jpg"
    msmt = make_table([("train/0000/0000_000_01_0303morning_0015_0.jpg", 0, 1, "train"),
                       ("train/0000/0000_001_02_0303morning_0015_0.jpg", 0, 2, "train")])
    table = find_camstyle(msmt, names("0000_000_01_0303morning_0015_0_fake_1.jpg",
                                      "0000_000_01_0303morning_0015_0_fake_12.jpg")(tmp_path / "n"))
    assert style_columns(table) == ["style_12"]      # its own camera is the image itself
    assert table["style_12"].tolist() == ["0000_000_01_0303morning_0015_0_fake_12.jpg", ""]
    zero = make_table([("a_0.jpg", 0, 0, "train"), ("b_1.jpg", 0, 1, "train")])     # cameras counted from 0
    assert style_columns(find_camstyle(zero, names("a_0_fake_1to2.jpg")(tmp_path / "z"))) == ["style_2"]
    with pytest.raises(ValueError, match="says camera 2, but bounding_box_train/0002_c1s1_000451_03.jpg is of camera"):
        find_camstyle(market(), names("0002_c1s1_000451_03_fake_2to1.jpg")(tmp_path / "wrong"))
    assert style_columns(find_camstyle(market(), tmp_path / "nowhere")) == []
    assert style_name(inner_paths(market())[0], 1, 2) == "0002_c1s1_000451_03_fake_1to2.jpg"


def test_the_sheet_shows_every_image_under_every_camera():
    images, camera = cameras()
    transfer = StyleTransfer(CameraStatistics.estimate(images, camera))
    sheet = style_sheet(list(images[[0, 9]]), camera[[0, 9]].tolist(), transfer)
    pixels = torch.tensor(np.array(sheet).tolist()).permute(2, 0, 1)
    assert torch.equal(pixels[:, 54:66, 12:18], images[0].long())
    second = transfer(images[9:], torch.tensor([1]), torch.tensor([0]))[0]
    assert torch.equal(pixels[:, 72:84, 12:18], second.long())
    assert pixels[:, 52, 12].tolist() == [214, 90, 40]      # the frame of its own camera
