"""What every cell and layer shares: the cell contract, the layer, arguments, masks, state."""
