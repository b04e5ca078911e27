"""Pictures of graphs: what is to be drawn, where it is placed, and the formats that draw it.

picture            nodes, edges and groups, as `draw` hands them in
text, notation     text with lines; mermaid and dot, which are laid out elsewhere
layers, order, places, routes, things, layout
                   the layered layout: level, order within it, coordinates, curves
svg, png           what draws a layout
looks, letters     colours and marks of states; widths and shortening of names
"""
