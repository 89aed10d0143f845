"""What the metrics of an evaluation mean, in a sentence each."""

from __future__ import annotations

from typing import Final

GLOSSARY: Final = (
    ("Dice", "dice", ("Twice the shared volume over the sum of both: 1 is equal, 0 is apart. Where neither truth nor "
     "finding has a voxel there is no Dice; a finding where nothing is has 0.")),
    ("Dice, pooled", "dice_pooled", ("Dice of all cases as if they were one. Large structures weigh more than in the "
     "mean over cases, and a case without the structure counts only where something was found in it.")),
    ("HD95", "hd95", ("Of the distances from each surface to the other, the 95th percentile, the larger of the two "
     "directions. It needs two surfaces: a missed structure is left out here and shows in Dice.")),
    ("mean surface distance", "assd", "The mean of those distances, over both surfaces."),
    ("volume error", "volume_error", "Found minus true: below 0 the model finds too little."),
    ("specificity and accuracy of voxels", "specificity", ("Near 1 for any small structure, whatever the model does: "
     "almost all voxels are background.")),
    ("by case", "case_", "Whether the structure was seen at all, case by case: said where some cases lack it."),
    ("by lesion", "lesion_", ("What the node reports, at its own thresholds. A lesion of a mask is seen where any of "
     "its voxels is found; a found one that touches no true one is false. A box is seen where the centre of a found "
     "one lies within it (within the ellipsoid that fills it).")),
    ("sensitivity at n false per scan", "sensitivity_at", ("What would be seen if the threshold were set so that there "
     "are n false marks per scan, by the rules of LUNA16: marks within a lesion count once, the surest.")),
    ("CPM", "cpm", ("Competition performance metric: the mean of the sensitivities at 1/8, 1/4, 1/2, 1, 2, 4 and 8 "
     "false marks per scan.")),
    ("AP and mAP", "map_", ("Average precision as COCO defines it, where a box counts as right from that intersection "
     "over union on; mAP is the mean over IoU 0.10, 0.15 to 0.50.")),
    ("ROC-AUC", "roc_auc", "The chance that a case of the class gets a higher probability than one that is not."),
)
"""Term, what the metrics it belongs to begin with, meaning."""
