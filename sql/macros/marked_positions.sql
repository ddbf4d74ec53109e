-- The positions in a window, from 0, that are marked for a reader: those above a share of its peak.
create macro marked_positions(activations, peak, share) as list_filter(
    range(len(activations)), lambda position: activations[position + 1] > share * peak
)::int[]
