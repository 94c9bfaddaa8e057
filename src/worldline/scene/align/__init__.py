"""Global alignment of pairwise pointmaps (DUSt3R section 3.4): the baseline for single-pass models."""

from worldline.scene.align.cleaning import clean_pointcloud
from worldline.scene.align.global_align import AlignedScene, global_align
from worldline.scene.align.pair_viewer import view_pair
from worldline.scene.align.pairs import make_pairs
from worldline.scene.align.predictions import PairPredictions

__all__ = ["AlignedScene", "PairPredictions", "clean_pointcloud", "global_align", "make_pairs", "view_pair"]
