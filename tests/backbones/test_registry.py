import pytest

from keras_sllmr.backbones.features import FeatureSpec
from keras_sllmr.backbones.registry import BACKBONES, build_backbone
from keras_sllmr.errors import ConfigError


@pytest.mark.parametrize("name", sorted(BACKBONES))
def test_every_backbone_gives_one_logit(name: str, spec: FeatureSpec) -> None:
    model = build_backbone(name, spec, embedding_dim=4)
    assert model.output_shape == (None, 1)
    assert set(model.input) == set(spec.inputs())


def test_unknown_name(spec: FeatureSpec) -> None:
    with pytest.raises(ConfigError, match="one of .*deepfm.*backbone='deepfn'"):
        build_backbone("deepfn", spec)


def test_unknown_hyperparameter(spec: FeatureSpec) -> None:
    with pytest.raises(ConfigError, match="'deepfm'.*'embedding_size'"):
        build_backbone("deepfm", spec, embedding_size=4)


def test_a_hyperparameter_that_the_backbone_sets(spec: FeatureSpec) -> None:
    with pytest.raises(ConfigError, match="'din'.*'first_order'"):
        build_backbone("din", spec, first_order=True)


def test_other_type_errors_are_not_hidden(
    spec: FeatureSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(spec: FeatureSpec, **options: object) -> None:
        raise TypeError("something else")

    monkeypatch.setitem(BACKBONES, "broken", broken)
    with pytest.raises(TypeError, match="something else"):
        build_backbone("broken", spec)
