// SPDX-License-Identifier: GPL-2.0-only
/*
 * Files with shared mappings: the operations of their file systems on mapped pages,
 * and the notice that a page has left the page cache.
 */
#include <linux/backing-dev.h>
#include <linux/buffer_head.h>
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/mm.h>
#include <linux/pagemap.h>
#include <linux/slab.h>
#include "filemap.h"

static LIST_HEAD(lkl_shared_files);

/*
 * The operations of a file system, and those of its files with shared mappings. A write
 * may sleep between two operations, and keeps their address. So this is never freed;
 * there are few file systems.
 */
struct lkl_hooked_ops {
	struct list_head list;
	const struct address_space_operations *original;
	struct address_space_operations hooked;
};

static LIST_HEAD(lkl_hooked_ops);

bool lkl_shared_file_has_storage(const struct lkl_shared_file *f)
{
	return mapping_can_writeback(f->mapping);
}

/* The file system gets a VMA of its own, since those of the mm do not know files. */
static struct vm_area_struct *lkl_shared_file_open(struct file *file)
{
	struct vm_area_struct *vma = vm_area_alloc(current->mm);
	int err;

	if (!vma)
		return ERR_PTR(-ENOMEM);
	vma->vm_flags = VM_READ | VM_MAYREAD | VM_SHARED | VM_MAYSHARE;
	if (file->f_mode & FMODE_WRITE)
		vma->vm_flags |= VM_WRITE | VM_MAYWRITE;
	vma->vm_end = PAGE_SIZE;
	vma->vm_file = get_file(file);
	err = file->f_op->mmap(file, vma);
	/* Read-only file systems have no method for machines without an MMU. */
	if (err == -ENOSYS && !(file->f_mode & FMODE_WRITE))
		err = 0;
	if (!err)
		return vma;
	fput(file);
	vm_area_free(vma);
	return ERR_PTR(err);
}

static void lkl_shared_file_close(struct vm_area_struct *vma)
{
	if (vma->vm_ops && vma->vm_ops->close)
		vma->vm_ops->close(vma);
	fput(vma->vm_file);
	vm_area_free(vma);
}

struct lkl_shared_file *lkl_shared_file_find(struct address_space *mapping)
{
	struct lkl_shared_file *f;

	list_for_each_entry(f, &lkl_shared_files, list)
		if (f->mapping == mapping)
			return f;
	return NULL;
}

/* A file that was mapped through a read-only descriptor may become writable. */
static struct lkl_shared_file *lkl_shared_file_reuse(struct lkl_shared_file *f, struct file *file)
{
	struct vm_area_struct *vma;

	if (!(file->f_mode & FMODE_WRITE) || f->vma->vm_file->f_mode & FMODE_WRITE)
		return f;
	vma = lkl_shared_file_open(file);
	if (IS_ERR(vma))
		return ERR_CAST(vma);
	lkl_shared_file_close(f->vma);
	f->vma = vma;
	return f;
}

/*
 * Called before a page leaves the page cache because its content on the disk or the
 * server may be newer. A page that the program has changed must stay.
 */
static bool lkl_shared_file_release(struct folio *folio, gfp_t gfp)
{
	const struct address_space_operations *ops = folio->mapping->a_ops;

	if (lkl_shared_is_changed(folio))
		return false;
	/* The last mapping may be gone since the caller has read the address of this function. */
	if (ops->release_folio == lkl_shared_file_release)
		ops = container_of(ops, struct lkl_hooked_ops, hooked)->original;
	if (ops->release_folio)
		return ops->release_folio(folio, gfp);
	if (folio_buffers(folio))
		return try_to_free_buffers(folio);
	folio_detach_private(folio);
	return true;
}

/* The function above is called for pages with private data only. FUSE has none. */
bool lkl_shared_file_needs_private(const struct lkl_shared_file *f)
{
	return !f->aops->release_folio && f->aops->launder_folio;
}

static const struct address_space_operations *
lkl_hook_ops(const struct address_space_operations *original)
{
	struct lkl_hooked_ops *ops;

	list_for_each_entry(ops, &lkl_hooked_ops, list)
		if (ops->original == original)
			return &ops->hooked;
	ops = kmalloc(sizeof(*ops), GFP_KERNEL);
	if (!ops)
		return NULL;
	ops->original = original;
	ops->hooked = *original;
	if (!ops->hooked.free_folio)
		ops->hooked.free_folio = lkl_shared_lost;
	ops->hooked.release_folio = lkl_shared_file_release;
	list_add(&ops->list, &lkl_hooked_ops);
	return &ops->hooked;
}

struct lkl_shared_file *lkl_shared_file_get(struct file *file)
{
	struct address_space *mapping = file->f_mapping;
	struct lkl_shared_file *f = lkl_shared_file_find(mapping);
	const struct address_space_operations *hooked;
	void *vma;

	if (f)
		return lkl_shared_file_reuse(f, file);
	/* tmpfs calls lkl_shared_lost() itself. */
	if (!mapping->a_ops->read_folio ||
	    (mapping->a_ops->free_folio && !lkl_is_tmpfs(mapping)))
		return ERR_PTR(-ENODEV);
	hooked = lkl_hook_ops(mapping->a_ops);
	f = hooked ? kzalloc(sizeof(*f), GFP_KERNEL) : NULL;
	if (!f)
		return ERR_PTR(-ENOMEM);
	vma = lkl_shared_file_open(file);
	if (IS_ERR(vma)) {
		kfree(f);
		return vma;
	}
	f->vma = vma;
	f->mapping = mapping;
	xa_init(&f->pages);
	f->aops = mapping->a_ops;
	mapping->a_ops = hooked;
	list_add(&f->list, &lkl_shared_files);
	return f;
}

void lkl_shared_file_put(struct lkl_shared_file *f)
{
	if (f->pinned || !xa_empty(&f->pages))
		return;
	list_del(&f->list);
	f->mapping->a_ops = f->aops;
	lkl_shared_file_close(f->vma);
	kfree(f);
}

int lkl_shared_file_dirty(struct lkl_shared_file *f, struct page *page)
{
	struct vm_fault vmf = {
		.vma = f->vma,
		.pgoff = page->index,
		.page = page,
		.flags = FAULT_FLAG_WRITE | FAULT_FLAG_MKWRITE,
	};
	vm_fault_t ret = VM_FAULT_LOCKED;

	if (f->vma->vm_ops && f->vma->vm_ops->page_mkwrite)
		ret = f->vma->vm_ops->page_mkwrite(&vmf);
	else
		lock_page(page);
	if (ret & VM_FAULT_ERROR)
		return ret & VM_FAULT_OOM ? -ENOMEM : -EIO;
	if (!(ret & VM_FAULT_LOCKED))
		return 0;	/* the file was truncated */
	if (page->mapping == f->mapping)
		set_page_dirty(page);
	unlock_page(page);
	return 0;
}
