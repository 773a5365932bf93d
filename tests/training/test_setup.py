"""What a run starts from: noise that nobody trains, foreign pieces and missing sources are refused beforehand."""

import dataclasses
import json
import pathlib
import shutil

import jax
import numpy as np
import pytest
import small_models

from m3it_jax import checkpointing, errors, parameter_paths, tokenizer
from m3it_jax import config as config_lib
from m3it_jax.config import AugmentConfig, DataConfig, Experiment, MeshConfig, ModelConfig, ValidationConfig
from m3it_jax.models import variants
from m3it_jax.training import loop, setup

STAGE_1 = ((r"(qformer|projection)/.*", True), (r"(vit|decoder)/.*", False))


@pytest.fixture
def config(folder) -> Experiment:
    return Experiment(
        model=ModelConfig(variant="tiny"),
        data=DataConfig(
            path=str(folder.path), global_batch_size=8, max_images=64, max_text_len=80, max_response_len=40
        ),
    )


def test_a_frozen_part_that_nothing_is_loaded_for_is_refused_by_name(config, fresh_run) -> None:
    config.trainable = STAGE_1
    with pytest.raises(
        errors.ConfigError, match=r"freezes decoder, which starts at random; give --init_from\.decoder="
    ):
        setup.prepare(config)
    config.init_from = {"decoder": str(fresh_run)}
    with pytest.raises(errors.ConfigError, match=r"freezes vit, .* --init_from\.vit="):
        setup.prepare(config)
    config.init_from = {"all": str(fresh_run)}
    assert "vit" in setup.describe(config, setup.prepare(config))


def test_parts_that_see_pictures_may_stay_fresh_when_there_are_none(config) -> None:
    config.trainable = ((r"decoder/.*", True), (r".*", False))
    config.data.picture_as = "captions"
    setup.prepare(config)
    config.trainable = ((r"(vit|qformer|projection)/.*", True), (r"decoder/.*", False))
    with pytest.raises(errors.ConfigError, match="freezes decoder"):
        setup.prepare(config)
    config.objective, config.trainable = "qformer_tower", ((r"vit/.*", False), (r".*", True))  # sees them all the same
    with pytest.raises(errors.ConfigError, match="freezes vit"):
        setup.prepare(config)


def test_a_batch_that_cannot_be_computed_in_parts_is_refused_by_field(config) -> None:
    config.mesh, config.optimizer.accumulation = MeshConfig(data=4, tensor=2), 4
    with pytest.raises(errors.ConfigError, match=r"global_batch_size.* which 16 parts .* optimizer\.accumulation"):
        setup.prepare(config)
    config.optimizer.accumulation = 2
    assert setup.prepare(config).accumulation == 2
    config.objective = "vit_tower"
    with pytest.raises(errors.ConfigError, match=r"optimizer\.accumulation=2: objective=vit_tower compares every"):
        config_lib.validate(config)


def test_a_wrong_table_or_mesh_is_refused_before_anything_is_made(config) -> None:
    config.trainable = ((r"vit/.*", True),)
    with pytest.raises(errors.ConfigError, match="no row matches parameter"):
        setup.prepare(config)
    config.trainable, config.mesh = ((r".*", True),), MeshConfig(tensor=8)
    with pytest.raises(errors.ConfigError, match=r"mesh\.tensor=8: does not divide the 2 of parameter \S*kernel"):
        setup.prepare(config)


@pytest.mark.parametrize(
    ("init_from", "told"),
    [
        ({"vit": "{tmp}/nope"}, "nope: no checkpoint here"),
        ({"vit": "package:nope"}, "ships no nope/vit"),
        ({"projection": "package:mini"}, "ships no mini/projection"),
        ({"vit": "package:mini"}, r"vit/\S+ has shape .* needs .* same model\.variant"),
        ({"all": "{tower}"}, "holds no decoder/"),
        ({"decoder": "{tower}"}, "holds no part 'decoder'; it holds heads, vit"),
    ],
)
def test_a_dry_run_looks_at_what_the_run_would_start_from(config, fresh_run, tmp_path, init_from, told) -> None:
    tower = tmp_path / "tower"
    shutil.copytree(fresh_run, tower)
    write_checkpoint(tower, config)
    config.init_from = {part: source.format(tmp=tmp_path, tower=tower) for part, source in init_from.items()}
    prepared = setup.prepare(config)
    for look in (setup.describe, setup.initial_state):
        with pytest.raises(errors.UserError, match=told):
            look(config, prepared)


def write_checkpoint(run: pathlib.Path, config: Experiment) -> None:
    """Saves a vision tower with its heads as the newest step."""
    config = dataclasses.replace(config, objective="vit_tower")
    prepared = setup.prepare(config)
    manager = checkpointing.open_manager(run, 1)
    loop.save(manager, prepared, loop.Progress(setup.initial_state(config, prepared), {}, 2))
    manager.close()


@pytest.mark.parametrize("part", ["decoder", "all"])
def test_weights_of_other_pieces_are_refused_with_the_way_out(config, fresh_run, tmp_path, part: str) -> None:
    other = tmp_path / "other.model"
    tokenizer.train([f"word{number} and a few more" for number in range(60)] + ["<Img></Img>"] * 9, other, 350)
    config.init_from = {part: str(fresh_run)}
    config.data.tokenizer = str(other)
    prepared = setup.prepare(config)
    told = rf"init_from\.{part}=.*run/tokenizer\.model.*other\.model; give --data\.tokenizer=.*run/tokenizer\.model"
    for look in (setup.describe, setup.initial_state):
        with pytest.raises(errors.ConfigError, match=told):
            look(config, prepared)
    config.init_from = {"vit": str(fresh_run)}  # knows no pieces
    setup.describe(config, prepared)
    config.init_from, config.data.tokenizer = {part: str(fresh_run)}, str(fresh_run / "tokenizer.model")
    setup.describe(config, setup.prepare(config))


@pytest.mark.parametrize("objective", ["response", "vit_tower"])
def test_pictures_of_validation_are_as_they_are(config, objective: str) -> None:
    """Else the validation loss would be that of distorted pictures; those of training are bent all the same."""
    config.objective, config.validation = objective, ValidationConfig(every=1)
    plain = setup.prepare(config)
    bending = AugmentConfig(shift=0.3, scale=0.3, rotate=40.0, wave=0.1, jitter=0.3)
    bent = setup.prepare(dataclasses.replace(config, data=dataclasses.replace(config.data, augment=bending)))
    for number in (0, 3):
        wanted, found = (prepared.validation.batch(number) for prepared in (plain, bent))
        assert wanted.keys() == found.keys()
        for name, array in wanted.items():
            np.testing.assert_array_equal(found[name], array, err_msg=name)
    assert not np.array_equal(plain.pipeline.batch(0)["images"], bent.pipeline.batch(0)["images"])
    assert bent.pipeline.fingerprint != plain.pipeline.fingerprint


def test_validation_reads_the_validation_split_in_the_order_of_training(config, folder, tmp_path) -> None:
    moved = shutil.copytree(folder.path, tmp_path / "moved")
    ids = {}
    for split in ("train", "validation"):
        config.data.path, config.data.split, config.validation = str(moved), split, ValidationConfig(every=1)
        prepared = setup.prepare(config)
        ids[split] = [prepared.pipeline.record_ids(0), prepared.validation.record_ids(0)]
    assert ids["train"] == ids["validation"] and ids["train"][0] == ids["train"][1]
    for shard in moved.glob("*/*/*-validation.tfrecord-*"):
        shard.unlink()
    with pytest.raises(errors.UserError, match="validation"):
        setup.prepare(config)


def test_without_validation_none_is_opened(config) -> None:
    assert setup.prepare(config).validation is None


def test_the_abstract_state_is_that_of_the_real_one(config, fresh_run) -> None:
    config.trainable, config.init_from = STAGE_1, {"all": str(fresh_run)}
    config.mesh, config.model.frozen_dtype = MeshConfig(data=2, fsdp=2, tensor=2), "bfloat16"
    prepared = setup.prepare(config)
    real, wanted = setup.initial_state(config, prepared), setup.abstract_state(config, prepared)
    for name in ("trainable", "frozen"):
        wanted_leaves = parameter_paths.flatten(getattr(wanted, name))
        for path, leaf in parameter_paths.flatten(getattr(real, name)).items():
            found = (leaf.shape, leaf.dtype, leaf.sharding)
            assert found == (wanted_leaves[path].shape, wanted_leaves[path].dtype, wanted_leaves[path].sharding), path


@pytest.mark.parametrize(
    ("family", "objective", "data", "message"),
    [
        ("blip2_t5", "response", {"packing": "rows"}, r"data\.packing=rows: .* encoder-decoder language model, whose"),
        ("blip2_t5", "response", {"picture_as": "captions"}, r"data\.picture_as=captions: .* learns answers alone"),
        ("llava", "qformer_tower", {}, "has no Q-Former"),
    ],
)
def test_a_model_that_cannot_be_trained_so_is_refused_before_data_is_read(
    tmp_path, family, objective, data, message
) -> None:
    variants.write(small_models.SMALL[family], tmp_path)
    settings = Experiment(objective=objective, model=ModelConfig(variant=str(tmp_path)), data=DataConfig(**data))
    settings.data.path = str(tmp_path / "missing")
    with pytest.raises(errors.ConfigError, match=message):
        setup.prepare(settings)


def test_data_without_a_tokenizer_tells_where_one_can_come_from(config, tmp_path) -> None:
    own = pathlib.Path(shutil.copytree(config.data.path, tmp_path / "data"))
    manifest = json.loads((own / "m3it.json").read_text("utf-8"))
    del manifest["tokenizer"]
    (own / "m3it.json").write_text(json.dumps(manifest))
    config.data.path = str(own)
    told = r"data\.tokenizer: not set, and .*data has no tokenizer of its own; use --data\.tokenizer=package:mini"
    with pytest.raises(errors.ConfigError, match=told):
        setup.prepare(config)


def test_a_held_out_source_in_the_data_stops_a_run_by_size_too(config, tmp_path) -> None:
    own = pathlib.Path(shutil.copytree(config.data.path, tmp_path / "data"))
    manifest = json.loads((own / "m3it.json").read_text("utf-8"))
    manifest["sources"]["viquae"] = manifest["sources"].pop("films")
    (own / "m3it.json").write_text(json.dumps(manifest))
    config.data.path = str(own)
    with pytest.raises(errors.ConfigError, match="viquae is held out by the paper"):
        setup.prepare(config)
    config.data.mixture = {"ones": 1.0}
    setup.prepare(config)


def test_what_is_trained_is_float32_and_what_is_frozen_has_the_type_asked_for(config, fresh_run) -> None:
    config.trainable, config.init_from = STAGE_1, {"all": str(fresh_run)}
    config.model.frozen_dtype = "bfloat16"
    state = setup.abstract_state(config, setup.prepare(config))
    for tree, dtype in ((state.trainable, "float32"), (state.frozen, "bfloat16")):
        leaves = parameter_paths.flatten(tree)
        assert leaves and {str(leaf.dtype) for leaf in leaves.values()} == {dtype}
    assert set(state.trainable) == {"qformer", "projection"} and set(state.frozen) == {"vit", "decoder"}
    moments = {str(leaf.dtype) for leaf in jax.tree.leaves(state.opt_state) if leaf.ndim}
    assert moments == {"float32"} and str(state.step.dtype) == "int32"


@pytest.mark.parametrize(("num_names", "told"), [(5, "s0, s1, s2, s3, s4)"), (7, "s0, s1, s2, s3, s4 and 2 more)")])
def test_the_overview_tells_devices_parameters_and_data(config, monkeypatch, num_names: int, told: str) -> None:
    config.trainable, config.init_from = STAGE_1, {"all": "somewhere"}
    config.validation = ValidationConfig(every=1)
    prepared = setup.prepare(config)
    leaves = parameter_paths.flatten(setup.abstract_params(prepared.objective, prepared.task)[0])
    sizes = {True: 0, False: 0}
    for path, leaf in leaves.items():
        sizes[path.startswith(("qformer/", "projection/"))] += int(np.prod(leaf.shape))
    monkeypatch.setattr(prepared.pipeline, "source_names", [f"s{number}" for number in range(num_names)])
    held_out = prepared.validation.num_records
    assert setup.overview(config, prepared) == [
        "device       8 x cpu (cpu)",
        f"model        tiny: {sizes[True]:,} parameters trained, {sizes[False]:,} frozen",
        f"data         {config.data.path}: 100 training records; {held_out} validation records ({told}",
    ]
    without = dataclasses.replace(prepared, validation=None)
    assert "; no validation: the data folder has no validation record (" in setup.overview(config, without)[2]
    config.validation.every = 0
    assert ": 100 training records (s0" in setup.overview(config, without)[2]


def test_pictures_are_cut_as_the_model_says(config, tmp_path) -> None:
    tiny = variants.named("tiny")
    batches = {}
    for fit in ("stretch", "crop"):
        (tmp_path / fit).mkdir()
        variants.write(dataclasses.replace(tiny, vit=dataclasses.replace(tiny.vit, image_fit=fit)), tmp_path / fit)
        config.model.variant = str(tmp_path / fit)
        prepared = setup.prepare(config)
        batches[fit] = prepared.pipeline.batch(0)["images"], prepared.pipeline.fingerprint
    assert batches["stretch"][1] != batches["crop"][1]
    assert batches["stretch"][0].shape == batches["crop"][0].shape


def test_a_reader_of_text_gets_room_for_the_shorter_of_its_table_and_the_limit(config) -> None:
    tokens = tokenizer.Tokenizer.load(setup.prepare(config).tokenizer_path)
    lengths = {}
    for text_max_len in (20, 512):
        variant = small_models.SMALL["instructblip"]
        variant = dataclasses.replace(variant, qformer=dataclasses.replace(variant.qformer, text_max_len=text_max_len))
        layout = setup._layout(config, variant, tokens)
        lengths[text_max_len] = layout.qformer_text_len
        assert (layout.max_text_len, layout.max_response_len, layout.picture_len) == (80, 40, variant.picture_len)
    assert lengths == {20: 20, 512: 128}  # 128: max_txt_len of LAVIS' blip2_vicuna_instruct.py
    assert setup._layout(config, variants.named("tiny"), tokens).qformer_text_len == 0


def test_the_mesh_has_the_sizes_asked_for_and_must_take_all_devices(config) -> None:
    for sizes in ((8, 1, 1), (2, 4, 1), (4, 1, 2)):
        config.mesh = MeshConfig(*sizes)
        assert tuple(setup.prepare(config).mesh.shape.values()) == sizes
    for sizes in ((1, 2, 2), (2, 1, 2), (2, 2, 1)):
        config.mesh = MeshConfig(*sizes)
        with pytest.raises(errors.ConfigError, match="mesh"):
            setup.prepare(config)
