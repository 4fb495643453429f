"""Which images show the same individual: groups, how sure each image's is, and who belongs to none of them."""
from mprd_pyg.grouping.constrained import constrain_groups
from mprd_pyg.grouping.group_folder import GroupFolder, GroupUpdate
from mprd_pyg.grouping.image_groups import ImageGroups, add_to_groups, default_finder, default_relation, find_groups
from mprd_pyg.grouping.numbers import GroupChange, keep_numbers

__all__ = ["GroupChange", "GroupFolder", "GroupUpdate", "ImageGroups", "add_to_groups", "constrain_groups",
           "default_finder", "default_relation", "find_groups", "keep_numbers"]
