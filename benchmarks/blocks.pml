/*
 * The states that explore counts with add_memory, remove_memory, online_memory_block,
 * offline_memory_block and veto_memory_notifier and no unusual choice: what each of N
 * memory blocks is, what the notifier vetoes, and whether ZONE_MOVABLE is known to have no
 * hole. Nothing of what lies below is modelled, and nothing is judged.
 */
#ifndef N
#define N 2
#endif

#define ABSENT  0
#define OFFLINE 1
#define NORMAL  2
#define MOVABLE 3

#define VETO_ONLINE  1
#define VETO_OFFLINE 2

byte block[N];
byte veto;
bit contiguous;

/* Known after a block has left ZONE_MOVABLE: whether those that it has left are neighbours. */
inline look() {
	i = 0; runs = 0; before = ABSENT;
	do
	:: i < N ->
		runs = runs + (block[i] == MOVABLE && before != MOVABLE -> 1 : 0);
		before = block[i];
		i++
	:: else -> break
	od;
	contiguous = (runs == 1 -> 1 : 0);
	i = 0; runs = 0; before = ABSENT
}

active proctype requests() {
	byte b, i, runs, before;
end:	do
	:: d_step { veto != 0 -> veto = 0 }
	:: d_step { veto == 0 -> veto = VETO_ONLINE }
	:: d_step { veto == 0 -> veto = VETO_OFFLINE }
	:: d_step { veto == 0 -> veto = VETO_ONLINE | VETO_OFFLINE }
	:: atomic {
		select(b : 0 .. N - 1);
		if
		:: block[b] == ABSENT -> block[b] = OFFLINE
		:: block[b] == OFFLINE -> block[b] = ABSENT
		:: block[b] == OFFLINE && !(veto & VETO_ONLINE) -> block[b] = NORMAL
		:: block[b] == OFFLINE && !(veto & VETO_ONLINE) -> block[b] = MOVABLE; contiguous = 0
		:: block[b] == OFFLINE && (veto & VETO_ONLINE) -> look()
		:: block[b] == NORMAL && !(veto & VETO_OFFLINE) -> block[b] = OFFLINE
		:: block[b] == MOVABLE && !(veto & VETO_OFFLINE) -> block[b] = OFFLINE; look()
		:: else -> skip
		fi;
		b = 0
	}
	od
}
